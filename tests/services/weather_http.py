"""HTTP/1.1 that passes through weather.py, and what befalls it there."""

import asyncio
import datetime
import email.utils

from weather_wire import Bucket, Gone, Head, body_of, reply_has_body

LINGER = 2  # seconds that a client may go on to send what the server does not want
MOST_HELD = 256 << 20  # of a body that must be there as a whole

EXPIRED = {
    "s3": (400, "application/xml", '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ExpiredToken</Code><Message>The '
           "provided token has expired.</Message><RequestId>W</RequestId></Error>"),
    "azure": (401, "application/xml", '<?xml version="1.0" encoding="utf-8"?><Error><Code>InvalidAuthenticationInfo</Code>'
              "<Message>Server failed to authenticate the request.</Message><AuthenticationErrorDetail>Lifetime validation "
              "failed. The token is expired.</AuthenticationErrorDetail></Error>"),
    "gcs": (401, "application/json", '{"error": {"code": 401, "message": "Invalid Credentials", "errors": [{"message": '
            '"Invalid Credentials", "domain": "global", "reason": "authError"}]}}'),
}
PAGE = "<!DOCTYPE html><html><head><title>Welcome</title></head><body><form>Room number: <input></form></body></html>"


class HttpExchanges:
    """The requests of one connection of a client, one after the other, over one connection to the server."""

    def __init__(self, weather, client):
        self.weather, self.client = weather, client
        self.down = weather.to_client(client)
        self.server = self.up = None

    async def run(self):
        try:
            while (raw := await self.client.until(b"\r\n\r\n")) and await self.exchange(Head(raw)):
                pass
            await self.down.flush()
        finally:
            self.down.drop()
            self.leave_server()

    async def exchange(self, request):
        """One request. Whether the connection goes on."""
        rule = self.weather.choose(request.method, request.target)
        return await Exchange(self, request, rule).run()

    async def reach_server(self):
        if self.server is not None and self.server.has_ended():
            self.leave_server()
        if self.server is None:
            self.server = await self.weather.reach_server()
            self.up = self.weather.to_server(self.server)

    def leave_server(self, reset=False):
        if self.server is not None:
            self.up.drop()
            self.server.close(reset)
        self.server = self.up = None


class Exchange:
    def __init__(self, on, request, rule):
        self.on, self.request, self.rule = on, request, rule
        self.fault = rule.fault.name if rule else None

    def setting(self, name, otherwise=None):
        return self.rule.get(name, otherwise)

    async def run(self):
        if self.fault == "REFUSED":
            self.on.client.close(reset=True)
            await self.on.weather.refuse(self.setting("seconds", 1))
            return False
        if self.fault == "RESET_BEFORE":
            return self.reset()
        if self.fault in ("STATUS", "EXPIRED", "CAPTIVE") and not self.setting("carried_out"):
            await self.read_away(body_of(self.on.client, self.request))
            return await self.answer_itself()
        await self.on.reach_server()
        slow = Bucket(self.setting("bytes_per_second", 10000)) if self.fault == "SLOW" else None
        self.on.up.extra = self.on.down.extra = slow
        try:
            if self.fault == "DUPLICATE":
                return await self.send_twice()
            return await self.pass_on(self.pass_request(body_of(self.on.client, self.request)))
        finally:
            self.on.down.extra = None
            if self.on.up is not None:
                self.on.up.extra = None

    def reset(self):
        """Both connections break; the server may keep what it has."""
        self.on.down.drop()
        self.on.client.close(reset=True)
        self.on.leave_server()
        return False

    async def read_away(self, body):
        async for _ in body:
            pass

    async def hold(self, body):
        held = bytearray()
        async for piece in body:
            held += piece
            if len(held) > MOST_HELD:
                raise Gone("more than can be held")
        return bytes(held)

    # --- to the server -------------------------------------------------------------------------------------------
    async def pass_request(self, body):
        request, up = self.request, self.on.up
        await up.write(bytes(request))
        length = request.length or 0
        end = self.setting("at", length // 2) if self.fault == "RESET_DURING" else None
        flip = self.setting("at", length // 2) if self.fault == "FLIPPED_REQUEST" else None
        await pass_body(up, request, body, end, flip)
        await up.flush()
        return end is None

    async def pass_on(self, sending):
        """The request goes out while its reply comes in: a server may answer before it has all."""
        sending = asyncio.ensure_future(sending)
        replying = asyncio.ensure_future(self.take_reply())
        try:
            if self.fault in ("RESET_DURING", "RESET_AFTER"):
                await sending
                return self.reset()
            await asyncio.wait([sending, replying], return_when=asyncio.FIRST_COMPLETED)
            # The reply to what the server did not want to read to its end is worth more than the failure to send it.
            keep = await replying
            await asyncio.wait([sending], timeout=LINGER)
            if sending.done() and sending.exception() is None:
                return keep
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await self.close_gently()
            return False
        finally:
            for task in (sending, replying):
                task.cancel()
            await asyncio.gather(sending, replying, return_exceptions=True)

    async def close_gently(self):
        """Or the client, still sending, gets a reset before it has read the reply."""
        await self.on.down.flush()
        self.on.client.end_of_sending()
        try:
            await asyncio.wait_for(self.read_away(_rest(self.on.client)), LINGER)
        except (asyncio.TimeoutError, OSError):
            pass

    async def send_twice(self):
        held = await self.hold(body_of(self.on.client, self.request))

        async def again():
            yield held

        last = self.setting("reply", 2) == 2
        for which in (1, 2):
            await self.on.reach_server()
            if (which == 2) == last:
                keep = await self.pass_on(self.pass_request(again()))
            else:
                await self.pass_request(again())
                await self.lose_reply(await self.final_head(pass_interim=False))
        return keep

    # --- from the server -----------------------------------------------------------------------------------------
    async def final_head(self, pass_interim=True):
        while True:
            raw = await self.on.server.until(b"\r\n\r\n")
            if not raw:
                raise Gone("the server closed the connection without a reply")
            reply = Head(raw)
            if reply.status >= 200:
                return reply
            if pass_interim:
                await self.on.down.write(raw)

    async def lose_reply(self, reply):
        if reply_has_body(self.request.method, reply):
            await self.read_away(body_of(self.on.server, reply, to_end=True))
        if reply.closes:
            self.on.leave_server()

    async def take_reply(self):
        reply = await self.final_head()
        fault = self.fault
        if fault in ("REPLY_LOST", "STATUS", "EXPIRED", "CAPTIVE"):
            await self.lose_reply(reply)
            return self.reset() if fault == "REPLY_LOST" else await self.answer_itself()
        if fault == "SKEWED":
            off = datetime.timedelta(seconds=self.setting("seconds", 3600))
            reply.set("Date", email.utils.format_datetime(datetime.datetime.now(datetime.timezone.utc) + off, usegmt=True))
        if fault == "STALL" and self.setting("at") is None:
            await self.stall()
        if not reply_has_body(self.request.method, reply):
            await self.on.down.write(bytes(reply))
            return self.goes_on(reply)
        return await self.pass_reply_body(reply)

    async def pass_reply_body(self, reply):
        body, fault, down = body_of(self.on.server, reply, to_end=True), self.fault, self.on.down
        length = reply.length
        if length is None and fault in ("TRUNCATE", "SHORT", "FLIPPED"):
            held = await self.hold(body)
            length, body = len(held), _whole(held)
        half = length // 2 if length is not None else 0
        at = self.setting("at", half) if self.rule else None
        if fault == "SHORT":
            held = (await self.hold(body))[:at]
            reply.set("Transfer-Encoding", None)
            reply.set("Content-Length", len(held))
            await down.write(bytes(reply) + held)
            return self.goes_on(reply)
        ends_with_connection = reply.length is None and not reply.chunked
        await down.write(bytes(reply))
        if fault == "STALL" and self.setting("at") is not None:
            body = self.stalling(body, at)
        await pass_body(down, reply, body, at if fault == "TRUNCATE" else None, at if fault == "FLIPPED" else None)
        if fault == "TRUNCATE":
            await down.flush()
            self.on.leave_server()
            return False
        return self.goes_on(reply) and not ends_with_connection

    async def stall(self):
        await asyncio.sleep(self.setting("seconds", 3600))

    async def stalling(self, body, at):
        passed = 0
        async for piece in body:
            if passed <= at < passed + len(piece):
                yield piece[:at - passed]
                await self.on.down.flush()
                await self.stall()
                piece, passed = piece[at - passed:], at
            passed += len(piece)
            yield piece

    def goes_on(self, reply):
        if reply.closes:
            self.on.leave_server()
        return not reply.closes and not self.request.closes

    # --- instead of the server -----------------------------------------------------------------------------------
    async def answer_itself(self):
        headers, body = dict(self.setting("headers", {})), self.setting("body", "")
        if self.fault == "STATUS":
            status = self.setting("status", 503)
            if self.setting("retry_after") is not None:
                headers["Retry-After"] = self.setting("retry_after")
        elif self.fault == "EXPIRED":
            status, headers["Content-Type"], body = EXPIRED[self.setting("dialect", "s3")]
        else:
            status, body = self.setting("status", 200), PAGE
            headers["Content-Type"] = "text/html; charset=utf-8"
        body = body.encode()
        lines = [f"HTTP/1.1 {status} Weather", f"Date: {email.utils.formatdate(usegmt=True)}",
                 *(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {len(body)}", "", ""]
        await self.on.down.write("\r\n".join(lines).encode() + (b"" if self.request.method == "HEAD" else body))
        return not self.request.closes


async def _whole(held):
    yield held


async def _rest(side):
    while piece := await side.some():
        yield piece


async def pass_body(outlet, head, body, end=None, flip=None):
    """Sends a body with the framing that its head announces; ends after `end` bytes, flips a bit of byte `flip`."""
    passed = 0
    async for piece in body:
        if end is not None and passed + len(piece) > end:
            piece = piece[:end - passed]
        if flip is not None and passed <= flip < passed + len(piece):
            piece = bytearray(piece)
            piece[flip - passed] ^= 1
        passed += len(piece)
        if head.chunked and len(piece) > 0:
            piece = b"%x\r\n%b\r\n" % (len(piece), bytes(piece))
        if len(piece) > 0:
            await outlet.write(piece)
        if end is not None and passed >= end:
            return
    if head.chunked:
        await outlet.write(b"0\r\n\r\n")
