"""Which photos to hold out: by ratio and seed, stratified by class, alike photos together."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

NO_BOX = ""
"""Stands for a class in photos without any box, so that they too are on both sides."""

# Candidates looked at for each choice: enough to choose well, and time stays linear.
_CANDIDATES = 64


@dataclass(frozen=True)
class Group:
    """Photos (by index) that stay on one side, and in how many of them each class is seen."""

    photos: tuple[int, ...]
    classes: Counter[str]


def grouped(classes_of_photo: Sequence[set[str]], leaders: Iterable[int]) -> list[Group]:
    """Groups of the photos that have the same leader; photos are named by their index."""
    members: dict[int, list[int]] = {}
    for photo, leader in enumerate(leaders):
        members.setdefault(int(leader), []).append(photo)
    return [
        Group(
            tuple(p), Counter(name for photo in p for name in classes_of_photo[photo] or [NO_BOX])
        )
        for p in members.values()
    ]


def hold_out(
    groups: Sequence[Group],
    ratio: float,
    seed: int,
    held: Sequence[Group] = (),
    kept: Sequence[Group] = (),
) -> list[int]:
    """The photos of ``groups`` to hold out, ascending, so that ``ratio`` of all photos is held out.

    ``held`` and ``kept`` are on their side already and only count. The rarest class is served
    first, as in iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011); among the
    groups that have it, the one is taken that overshoots the other classes least. A class is held
    out at least once where something of it remains on the other side; no class is emptied there.
    """
    choice = _Choice(groups, ratio, seed, held, kept)
    for name in sorted(choice.wanted, key=lambda n: (choice.everywhere[n], n)):
        while choice.held[name] < choice.wanted[name]:
            index = choice.best(choice.having[name], choice.held[name] == 0 and name != NO_BOX)
            if index is None:
                break
            choice.take(index)
    while True:
        index = choice.best(choice.order)
        if index is None:
            return sorted(photo for group in choice.taken for photo in groups[group].photos)
        choice.take(index)


class _Choice:
    """What has been chosen so far, and what is still wanted."""

    def __init__(
        self,
        groups: Sequence[Group],
        ratio: float,
        seed: int,
        held: Sequence[Group],
        kept: Sequence[Group],
    ) -> None:
        self.groups = groups
        self.order = list(range(len(groups)))
        random.Random(seed).shuffle(self.order)
        self.having: dict[str, list[int]] = {}
        for index in self.order:
            for name in groups[index].classes:
                self.having.setdefault(name, []).append(index)
        self.held = _classes(held)
        self.left = _classes([*groups, *kept])
        self.everywhere = self.held + self.left
        self.wanted = {
            name: max(1, round(ratio * self.everywhere[name])) if ratio else 0
            for name in self.having
        }
        total = sum(len(group.photos) for group in [*groups, *held, *kept])
        already = sum(len(group.photos) for group in held)
        self.missing = (max(1, round(ratio * total)) if ratio else 0) - already
        self.taken: dict[int, None] = {}

    def take(self, index: int) -> None:
        self.taken[index] = None
        self.held += self.groups[index].classes
        self.left -= self.groups[index].classes
        self.missing -= len(self.groups[index].photos)

    def best(self, candidates: Iterable[int], needed: bool = False) -> Optional[int]:
        """The candidate to hold out next, or None when holding out any would do harm.

        ``needed``: a class is not held out at all yet, so the number of photos may be exceeded.
        """
        found, least, looked_at = None, 0, 0
        for index in candidates:
            group = self.groups[index]
            brings_closer = 2 * self.missing > len(group.photos)
            if index in self.taken or not (brings_closer or needed) or self._empties(group):
                continue
            overshoot = sum(
                max(0, self.held[name] + count - self.wanted[name])
                for name, count in group.classes.items()
            )
            overshoot += max(0, len(group.photos) - max(0, self.missing))
            if found is None or overshoot < least:
                found, least = index, overshoot
            looked_at += 1
            if looked_at == _CANDIDATES or least == 0:
                break
        return found

    def _empties(self, group: Group) -> bool:
        """Whether a class would be left with no photo on the other side."""
        return any(
            self.left[name] <= count for name, count in group.classes.items() if name != NO_BOX
        )


def _classes(groups: Iterable[Group]) -> Counter[str]:
    total: Counter[str] = Counter()
    for group in groups:
        total.update(group.classes)
    return total
