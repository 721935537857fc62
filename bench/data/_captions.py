"""One-sentence captions of synthetic scenes."""

from ._scenes import NAMES, Scenes
from ._shapes import CLUTTER


def caption_scenes(group: Scenes) -> list[str]:
    """A caption per scene: the object, and on which side of its first visible clutter it is."""
    thing = group.things[0]
    captions = []
    for i in range(len(group)):
        size = "small " if thing.size[i] < 0.7 else "large " if thing.size[i] > 0.82 else ""
        caption = with_article(f"{size}{NAMES[group.names[0][i]]} {group.kind}")
        for k, clutter in enumerate(CLUTTER, 1):
            if group.shown[i, k]:
                right, up = thing.x[i] - group.things[k].x[i], thing.y[i] - group.things[k].y[i]
                if abs(right) > abs(up):
                    side = "right of" if right > 0 else "left of"
                else:
                    side = "above" if up > 0 else "below"
                caption += f" {side} {with_article(f'{NAMES[group.names[k][i]]} {clutter}')}"
                break
        captions.append(caption)
    return captions


def with_article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
