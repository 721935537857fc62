"""Says in a sentence what a synthetic scene shows."""

from ._scenes import NAMES, Scenes
from ._shapes import CLUTTER


def described(group: Scenes) -> list[str]:
    """A sentence for each scene: the object, and where the first clutter that is there lies from it."""
    thing = group.things[0]
    sentences = []
    for i in range(len(group)):
        size = "small " if thing.size[i] < 0.7 else "large " if thing.size[i] > 0.82 else ""
        sentence = article(f"{size}{NAMES[group.names[0][i]]} {group.kind}")
        for k, clutter in enumerate(CLUTTER, 1):
            if group.shown[i, k]:
                right, up = thing.x[i] - group.things[k].x[i], thing.y[i] - group.things[k].y[i]
                sides = ("right of", "left of") if abs(right) > abs(up) else ("above", "below")
                side = sides[0] if (right if abs(right) > abs(up) else up) > 0 else sides[1]
                sentence += f" {side} {article(f'{NAMES[group.names[k][i]]} {clutter}')}"
                break
        sentences.append(sentence)
    return sentences


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
