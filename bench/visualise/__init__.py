"""Pictures of pretext tasks and of features."""
