"""Bytes that pass through weather.py, whatever they mean."""

import asyncio

from weather_wire import Bucket, Gone


async def pass_raw(weather, client):
    rule = weather.choose("CONNECT", "")
    fault = rule.fault.name if rule else None
    if fault == "REFUSED":
        client.close(reset=True)
        await weather.refuse(rule.get("seconds", 1))
        return
    if fault == "RESET_BEFORE":
        client.close(reset=True)
        return
    server = await weather.reach_server()
    try:
        up, down = weather.to_server(server), weather.to_client(client)
        if fault == "SLOW":
            up.extra = down.extra = Bucket(rule.get("bytes_per_second", 10000))
        upward = asyncio.ensure_future(_pass(client, up, server))
        try:
            await _pass_down(server, down, client, rule, fault)
            await upward
        finally:
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)
            up.drop()
            down.drop()
    finally:
        server.close(reset=fault == "RESET_DURING")


async def _pass(source, outlet, to):
    while piece := await source.some():
        await outlet.write(piece)
    await outlet.flush()
    to.end_of_sending()


async def _pass_down(server, outlet, client, rule, fault):
    passed, at = 0, rule.get("at", 0) if rule else None
    while piece := await server.some():
        if fault is None or fault == "SLOW" or passed + len(piece) <= at:
            await outlet.write(piece)
            passed += len(piece)
            continue
        before, rest = bytes(piece[:at - passed]), bytearray(piece[at - passed:])
        passed += len(piece)
        if before:
            await outlet.write(before)
        await outlet.flush()
        if fault == "RESET_DURING":
            client.close(reset=True)
            raise Gone("as asked")
        if fault == "TRUNCATE":
            client.close()
            raise Gone("as asked")
        if fault == "STALL":
            await asyncio.sleep(rule.get("seconds", 3600))
        if fault == "FLIPPED":
            rest[0] ^= 1
        fault = None
        await outlet.write(rest)
    await outlet.flush()
    client.end_of_sending()
