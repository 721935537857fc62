"""The kinds of methods, by which reports and listings group and filter them."""

KINDS = {
    "generative": "restores or generates pixels, colours or patches",
    "pretext task": "solves a puzzle that was made from an image, such as its rotation",
    "clustering": "assigns images to clusters or targets, and predicts the assignment",
    "contrastive": "finds the part or view that belongs to an image, among those of others",
    "joint embedding": "gives two views of an image the same embedding, without negatives",
    "cross-modal": "predicts or matches another kind of data, such as captions or depth",
    "video": "learns from how things move and change in videos",
    "reference": "not a self-supervised method: what the others are compared with",
}
"""Kind -> what such a method does. A method declares its kind as a class attribute."""
