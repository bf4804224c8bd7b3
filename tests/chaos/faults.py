# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: faults drawn at random from a seed, each ending by itself after a while.

What is drawn (which fault, on whom, for what part of the longest time, after which pause) follows from the seed alone.
What it hits does not, nor whether it is left out since its victim suffers already.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from injector import Injector
from proxy import DOWN, UP
from world import SERVICES, WITH_BUS, World

GAP_SECONDS = (0.2, 2.0)
AT_ONCE_MAX = 3
# Those that publish and listen have more to lose, and are hit more often by so much.
BUS_TIMES = 3
OVERTAKE_SECONDS = (1.0, 3.0)
OVERTAKE_DONE_SECONDS = 1.0


@dataclass
class Limits:
    """How long things last, in seconds."""

    frozen: float = 20.0
    away: float = 12.0
    cut: float = 12.0


class Faults:
    def __init__(self, world: World, injector: Injector, seed: int, limits: Limits, say: Callable[[str], None]):
        self.counts: Counter[str] = Counter()
        self._world = world
        self._injector = injector
        self._random = random.Random(f"{seed} faults")
        self._limits = limits
        self._say = say
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = itertools.count()
        self._busy: Counter[str] = Counter()
        self._next_at: float | None = None
        services = [name for name, target in world.targets.items() if target.group in SERVICES
                    for _ in range(BUS_TIMES if target.group in WITH_BUS else 1)]
        has_store = world.store.server is not None
        self._detail = 0  # of the fault that begins: a seed of its own
        # kind, how often, on whom, for how long at most, what
        self._kinds: list[tuple[str, int, list[str], float, Callable[[str, float, float], None]]] = [
            ("kill -9 of a service", 24, services, 0.0, self._kill),
            ("SIGTERM of a service", 4, services, 0.0, self._terminate),
            ("freeze of a service", 10, services, limits.frozen, self._freeze),
            ("kill -9 of the bus", 5, ["broker"], limits.away / 4, self._kill),
            ("restart of the bus", 4, ["broker"], limits.away, self._terminate),
            ("freeze of the bus", 4, ["broker"], limits.frozen, self._freeze),
            ("reset of a link", 5, list(world.links), 0.0, self._reset),
            ("link refused", 6, list(world.links), limits.cut, self._refuse),
            ("link silent", 5, list(world.links), limits.cut, self._stall(UP, DOWN)),
            ("link silent upwards", 4, list(world.links), limits.cut, self._stall(UP)),
            ("link silent downwards", 4, list(world.links), limits.cut, self._stall(DOWN)),
            ("old events again", 8, ["bus"], 0.0, self._repeat),
            ("garbage", 4, ["bus"], 0.0, self._garbage),
            ("later before earlier", 6, ["bus"], 0.0, self._overtake),
        ]
        if has_store:
            self._kinds += [
                ("kill -9 of the store", 5, ["mongo"], limits.away / 4, self._kill),
                ("restart of the store", 4, ["mongo"], limits.away, self._terminate),
                ("freeze of the store", 4, ["mongo"], limits.frozen, self._freeze),
            ]
        else:
            self._kinds += [("frozen with the store's lock", 6, list(SERVICES), limits.away, self._hold)]

    def tick(self, now: float) -> None:
        """To be called often: ends what is over, begins what is next."""
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2](now)
        if self._next_at is None:
            self._next_at = now + self._random.uniform(*GAP_SECONDS)
        if now >= self._next_at:
            self._next_at = now + self._random.uniform(*GAP_SECONDS)
            self._begin(now)

    def _begin(self, now: float) -> None:
        kind, _, victims, seconds_max, begin = self._random.choices(self._kinds, [kind[1] for kind in self._kinds])[0]
        victim = self._random.choice(victims)
        # Short ones are common, and so are those that outlast what others wait.
        seconds = seconds_max * self._random.random() ** 2
        # Drawn whether it is needed or not, so that what is left out changes nothing of what follows.
        self._detail = self._random.getrandbits(32)
        if self._busy[victim] or self._busy.total() >= AT_ONCE_MAX:
            return
        self.counts[kind] += 1
        self._say(f"{kind}: {victim}" + (f", {seconds:.1f} s" if seconds else ""))
        begin(victim, seconds, now)

    def _at(self, when: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), action))

    def _for(self, victim: str, seconds: float, now: float, end: Callable[[], None]) -> None:
        self._busy[victim] += 1

        def over(_: float) -> None:
            self._busy[victim] -= 1
            end()

        self._at(now + seconds, over)

    # ---- processes ----

    def _kill(self, victim: str, seconds: float, now: float) -> None:
        self._world.kill(victim, seconds)
        self._for(victim, seconds, now, lambda: None)

    def _terminate(self, victim: str, seconds: float, now: float) -> None:
        self._world.terminate(victim, seconds)
        self._for(victim, seconds, now, lambda: None)

    def _freeze(self, victim: str, seconds: float, now: float) -> None:
        self._world.freeze(victim)
        self._for(victim, seconds, now, lambda: self._world.thaw(victim))

    def _hold(self, victim: str, seconds: float, now: float) -> None:
        holder = self._world.hold(victim)
        if holder is not None:
            self._for(victim, seconds, now, holder.kill)

    # ---- links ----

    def _reset(self, victim: str, seconds: float, now: float) -> None:
        self._world.links[victim].reset()

    def _refuse(self, victim: str, seconds: float, now: float) -> None:
        link = self._world.links[victim]
        link.refuse()
        self._for(victim, seconds, now, link.resume)

    def _stall(self, *directions: str) -> Callable[[str, float, float], None]:
        def begin(victim: str, seconds: float, now: float) -> None:
            link = self._world.links[victim]
            link.stall(*directions)

            def end() -> None:
                link.resume()
                if seconds > self._limits.cut / 2:
                    link.reset()  # a long silence ends as it does when a router has forgotten the connection

            self._for(victim, seconds, now, end)

        return begin

    # ---- events ----

    def _repeat(self, victim: str, seconds: float, now: float) -> None:
        self._injector.repeat(self._detail)

    def _garbage(self, victim: str, seconds: float, now: float) -> None:
        self._injector.garbage(self._detail)

    def _overtake(self, victim: str, seconds: float, now: float) -> None:
        """The owners cannot reach the bus for a moment, and what they change meanwhile arrives without its
        predecessors, which they publish later."""
        links = [name for name in self._world.links if name.startswith("tickets-") and name.endswith("-bus")]
        wait = random.Random(self._detail).uniform(*OVERTAKE_SECONDS)
        mark = self._injector.mark()
        for name in links:
            self._world.links[name].stall()
            self._for(name, wait + OVERTAKE_DONE_SECONDS, now, self._world.links[name].resume)
        self._at(now + wait, lambda _: self._injector.overtake(mark))
