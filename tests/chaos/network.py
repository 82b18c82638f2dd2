"""A little network of namespaces: a hub and a few peers, each peer on a link of its own that can be cut or made slow.

Needs root, iproute2 and nftables. Delay and loss are made without netem, which not every kernel has: a token bucket slows
a link down, drop rules lose packets, all of them or at random.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

HUB_ADDRESS = "10.231.0.1"


def sh(command: str, check: bool = True) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True)
    assert done.returncode == 0 or not check, f"{command}: {done.stderr.strip()}"


class Network:
    """The hub has one address, which every peer reaches over its own link."""

    def __init__(self, peers: Sequence[str]) -> None:
        assert os.geteuid() == 0, "network namespaces need root"
        self.tag = f"te{os.getpid() % 100_000}"
        self.peers = {name: number for number, name in enumerate(peers, 1)}
        self.hub = f"{self.tag}hub"
        self.made: list[str] = []

    def __enter__(self) -> Network:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        self._namespace(self.hub)
        sh(f"ip -n {self.hub} address add {HUB_ADDRESS}/32 dev lo")
        sh(f"ip netns exec {self.hub} nft add table inet faults")
        for hook in ("input", "output"):
            rule = f"{{ type filter hook {hook} priority 0; }}"
            subprocess.run(["ip", "netns", "exec", self.hub, "nft", f"add chain inet faults {hook} {rule}"], check=True)
        for name, number in self.peers.items():
            space, near, far = self.namespace(name), f"{self.tag}h{number}", f"{self.tag}p{number}"
            self._namespace(space)
            sh(f"ip -n {self.hub} link add {near} type veth peer name {far} netns {space}")
            sh(f"ip -n {self.hub} address add 10.231.{number}.1/24 dev {near}")
            sh(f"ip -n {space} address add 10.231.{number}.2/24 dev {far}")
            sh(f"ip -n {self.hub} link set {near} up")
            sh(f"ip -n {space} link set {far} up")
            sh(f"ip -n {space} route add {HUB_ADDRESS}/32 via 10.231.{number}.1")

    def _namespace(self, name: str) -> None:
        sh(f"ip netns add {name}")
        self.made.append(name)
        sh(f"ip -n {name} link set lo up")

    def __exit__(self, *exc: object) -> None:
        for name in reversed(self.made):
            sh(f"ip netns del {name}", check=False)

    def namespace(self, name: str) -> str:
        return f"{self.tag}{name}"

    def address(self, name: str) -> str:
        return f"10.231.{self.peers[name]}.2"

    def lose(self, name: str, to_hub: bool, percent: int = 100) -> None:
        """From now on packets of one direction of a peer's link get lost, all or so many of a hundred."""
        hook, which = ("input", "iifname") if to_hub else ("output", "oifname")
        some = "" if percent == 100 else f"numgen random mod 100 < {percent} "
        rule = f"add rule inet faults {hook} {which} {self.tag}h{self.peers[name]} {some}drop"
        subprocess.run(["ip", "netns", "exec", self.hub, "nft", rule], check=True)

    def heal(self) -> None:
        for hook in ("input", "output"):
            sh(f"ip netns exec {self.hub} nft flush chain inet faults {hook}")

    def slow(self, name: str, megabits: int) -> None:
        """Both directions of a peer's link take so many megabits in a second."""
        number = self.peers[name]
        for space, device in ((self.hub, f"{self.tag}h{number}"), (self.namespace(name), f"{self.tag}p{number}")):
            bucket = f"tbf rate {megabits}mbit burst 16kb latency 200ms"
            sh(f"ip netns exec {space} tc qdisc replace dev {device} root {bucket}")
