"""What bench/postgres.py prints: the tools beside each other, and the targets of the project with what came out."""

MIB = 2**20


class Report:
    def __init__(self):
        self._uses = {}  # (part, who) → what each round used
        self.tools, self.peer = [], None

    def add(self, part, who, use, **more):
        print(f"  {part}: {who} {use['wall']:.2f} s", flush=True)
        self._uses.setdefault((part, who), []).append({**use, **more})

    def measurements(self):
        return {f"{part}: {who}": uses for (part, who), uses in self._uses.items()}

    def best(self, part, who):
        """The quickest round."""
        uses = self._uses.get((part, who))
        return min(uses, key=lambda u: u["wall"]) if uses else None

    def ratio(self, part, who, other, key="wall", other_part=None):
        mine, theirs = self.best(part, who), self.best(other_part or part, other)
        return mine[key] / theirs[key] if mine and theirs and theirs.get(key) else None

    def show(self, size):
        print(f"\ncluster of {size / MIB:.0f} MiB; × is relative to varve; the quickest of all rounds\n")
        for part in dict.fromkeys(p for p, _ in self._uses):
            print(f"{part:30} {'wall s':>8} {'×':>6} {'cpu s':>8} {'×':>6} {'peak MiB':>9} {'stored MiB':>11} {'×':>6}")
            for who in (w for p, w in self._uses if p == part):
                self._row(part, who)
            print()
        self._targets()

    def _row(self, part, who):
        use = self.best(part, who)
        text = f"  {who:28} {use['wall']:8.2f} {self._times(part, who, 'wall')}"
        for key, unit, width in (("cpu", 1, 8), ("rss", MIB, 9), ("stored", MIB, 11)):
            text += f" {use[key] / unit:{width}.1f}" if key in use else " " * (width + 1)
            if key != "rss":
                text += " " + self._times(part, who, key)
        print(text.rstrip())

    def _times(self, part, who, key):
        ratio = self.ratio(part, who, "varve", key) if key in self.best(part, who) else None
        return f"{ratio:6.2f}" if ratio is not None else " " * 6

    def _targets(self):
        peer = self.peer
        rows = [
            ("full: wall / " + str(peer), self.ratio("full", "varve", peer), "≤", 0.6),
            ("full: speed of zstd -3 -T2", self.ratio("full", "zstd -3 -T2", "varve"), "≥", 0.8),
            ("incremental, 1 %: wall / " + str(peer), self.ratio("incremental, 1 %", "varve", peer), "≤", 0.1),
            ("incremental, 1 %: stored / " + str(peer), self.ratio("incremental, 1 %", "varve", peer, "stored"), "≤", 0.7),
            ("restore: wall / " + str(peer), self.ratio("restore", "varve", peer), "≤", 0.7),
            ("restore: speed of a plain copy", self.ratio("restore", "plain copy", "varve"), "≥", 0.85),
            ("table: wall / whole restore", self.ratio("table", "varve", "varve", other_part="restore"), "≤", 0.1),
            ("push: segments per second / " + str(peer), self.ratio("push", peer, "varve"), "≥", 3),
            ("push, key file: the same", self.ratio("push", peer, "varve, key file"), "≥", 3),
            ("memory, MiB", max((u["rss"] / MIB for (_, w), us in self._uses.items() if w.startswith("varve")
                                 for u in us if "rss" in u), default=None), "≤", 256),
        ]
        print(f"{'target':52} {'measured':>8} {'target':>8}")
        for what, value, sign, target in rows:
            if value is not None:
                met = value <= target if sign == "≤" else value >= target
                print(f"  {what:50} {value:8.2f} {sign + ' ' + format(target, 'g'):>8}  {'met' if met else 'MISSED'}")
