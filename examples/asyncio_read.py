"""Many READs at once under asyncio: scattered blocks of a pool, granted to one peer and taken back.

Two engines in one process stand for two processes; nothing changes if they are on different machines.
"""

import asyncio

import numpy as np

import mooncake_te as te

BLOCKS, BLOCK = 64, 16_384  # a pool like a paged KV cache: blocks of so many float32


async def main() -> None:
    """Grant half of the pool, read it with eight batches at once, revoke the grant, try again."""
    pool = np.arange(BLOCKS * BLOCK, dtype=np.float32).reshape(BLOCKS, BLOCK)
    mine = np.zeros_like(pool)
    async with te.Engine("owner") as owner, te.Engine("reader") as reader:
        # "grants": listed to nobody; peers may touch only what they are granted, for as long as they are.
        buffer = owner.register(pool, remote="grants")
        grant = buffer.grant(blocks=range(32), perm="r", to=reader.instance)
        handle = grant.remote()  # has the whole pool's shape, so block numbers mean the same on both sides

        reader.register(mine, remote=False)
        peer = await reader.aopen(owner.address)
        batches = [peer.read(into=mine, from_=handle, blocks=[i, i + 8, i + 16, i + 24], deadline=10) for i in range(8)]
        await asyncio.gather(*batches)
        assert np.array_equal(mine[:32], pool[:32])
        assert not mine[32:].any()
        print(
            f"read {sum(batch.bytes_done for batch in batches)} bytes in {len(batches)} batches: {batches[0].explain()}"
        )

        # A revocation costs about a round trip. After it these blocks may hold another request's data.
        report = await grant.aclose()
        print(f"revoked in {report.waited_ms:.1f} ms, acknowledged by {len(report.acknowledged)} peer")
        try:
            await peer.read(into=mine, from_=handle, blocks=[0])
        except te.StaleBuffer as error:
            print(f"refused: {error}")
        else:
            raise SystemExit("a revoked grant was read")


if __name__ == "__main__":
    asyncio.run(main())
