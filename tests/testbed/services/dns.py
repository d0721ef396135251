"""Cluster DNS: SERVICE.NAMESPACE.svc.cluster.local from the API's services and endpoints; any other name is asked of
the machine's own resolvers, byte for byte.

Usage: dns.py server=https://IP:PORT pki=FOLDER listen=IP upstream=IP,IP
"""

import asyncio
import ipaddress
import struct

from kube import Api, Mirror, arguments, log

ZONE = "cluster.local"
TTL = 5
A, CNAME, AAAA = 1, 5, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
PATIENCE = 2.0  # seconds for each upstream


class Zone:
    """What the cluster says about a name."""

    def __init__(self, api):
        self.services = Mirror(api, "/api/v1/services")
        self.endpoints = Mirror(api, "/api/v1/endpoints")
        self.services.start()
        self.endpoints.start()

    def look_up(self, name):
        """(code, addresses, alias) for a name inside the zone, lower case, without its last dot."""
        labels = name[: -len(ZONE)].rstrip(".").split(".")
        if len(labels) == 3 and labels[2] == "pod":
            return self.pod(labels[0])
        if labels[-1] != "svc" or len(labels) not in (3, 4):
            # The names between the zone and a service exist and hold nothing.
            return (NOERROR if name == ZONE or labels == ["svc"] else NXDOMAIN), [], None
        if not (self.services.synced and self.endpoints.synced):
            return SERVFAIL, [], None
        *host, service_name, namespace, _ = labels
        service = self.services.objects.get((namespace, service_name))
        if service is None:
            return NXDOMAIN, [], None
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return (NXDOMAIN, [], None) if host else (NOERROR, [], spec["externalName"])
        if spec.get("clusterIP") not in (None, "", "None"):
            return (NXDOMAIN, [], None) if host else (NOERROR, [spec["clusterIP"]], None)
        return self.headless(namespace, service, host)

    def headless(self, namespace, service, host):
        endpoints = self.endpoints.objects.get((namespace, service["metadata"]["name"]), {})
        wanted, addresses = (host[0] if host else None), []
        for subset in endpoints.get("subsets") or []:
            ready = subset.get("addresses") or []
            if service["spec"].get("publishNotReadyAddresses"):
                ready = ready + (subset.get("notReadyAddresses") or [])
            for address in ready:
                hostname = address.get("hostname") or address["ip"].replace(".", "-")
                if wanted in (None, hostname) and address["ip"] not in addresses:
                    addresses.append(address["ip"])
        return (NXDOMAIN if wanted and not addresses else NOERROR), addresses, None

    @staticmethod
    def pod(label):
        try:
            return NOERROR, [str(ipaddress.IPv4Address(label.replace("-", ".")))], None
        except ValueError:
            return NXDOMAIN, [], None


def question(packet):
    """(name, type, where the question ends) of the only question in a query."""
    at, labels = 12, []
    while packet[at]:
        length = packet[at]
        labels.append(packet[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    (kind,) = struct.unpack_from("!H", packet, at + 1)
    return ".".join(labels), kind, at + 5


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def record(owner, kind, data):
    return owner + struct.pack("!HHIH", kind, 1, TTL, len(data)) + data


def reply(query, end, code, records=(), extra=()):
    """An authoritative answer to `query`, whose question ends at `end`."""
    flags = 0x8480 | (struct.unpack_from("!H", query, 2)[0] & 0x0100) | code
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(records) + len(extra), 0, 0)
    return head + query[12:end] + b"".join(records) + b"".join(extra)


class Server:
    def __init__(self, zone, upstream):
        self.zone, self.upstream = zone, upstream

    async def answer(self, query, tcp=False):
        """The answer to one query as bytes, or None when there is nothing sensible to say."""
        try:
            name, kind, end = question(query)
        except (IndexError, struct.error):
            return None
        if name == ZONE or name.endswith("." + ZONE):
            return await self.local(query, name, kind, end)
        if name.endswith(".10.in-addr.arpa"):
            # Our own addresses; nobody upstream knows them, and some take seconds to say so.
            return reply(query, end, NXDOMAIN)
        return await self.forward(query, tcp) or reply(query, end, SERVFAIL)

    async def local(self, query, name, kind, end):
        code, addresses, alias = self.zone.look_up(name)
        owner = b"\xc0\x0c"  # points at the question's name
        if alias:
            target = encoded(alias)
            extra = await self.follow(alias, target) if kind == A else ()
            return reply(query, end, NOERROR, [record(owner, CNAME, target)], extra)
        records = [record(owner, A, ipaddress.IPv4Address(ip).packed) for ip in addresses] if kind == A else []
        return reply(query, end, code, records)

    async def follow(self, alias, target):
        """The A records that an ExternalName leads to, as records of our own."""
        if alias.rstrip(".").endswith("." + ZONE):
            _, addresses, _ = self.zone.look_up(alias.rstrip(".").lower())
            return [record(target, A, ipaddress.IPv4Address(ip).packed) for ip in addresses]
        query = b"\x12\x34" + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + target + struct.pack("!HH", A, 1)
        packet = await self.forward(query, tcp=False)
        return [record(target, A, data) for data in addresses_in(packet)] if packet else ()

    async def forward(self, query, tcp):
        for address in self.upstream:
            try:
                ask = ask_tcp if tcp else ask_udp
                return await asyncio.wait_for(ask(address, query), PATIENCE)
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                continue
        return None


def addresses_in(packet):
    """The A records' data in an answer."""
    try:
        _, _, at = question(packet)
        found = []
        for _ in range(struct.unpack_from("!H", packet, 6)[0]):
            while packet[at] and packet[at] < 0xC0:
                at += 1 + packet[at]
            at += 2 if packet[at] else 1
            kind, _, _, length = struct.unpack_from("!HHIH", packet, at)
            at += 10
            if kind == A:
                found.append(packet[at : at + length])
            at += length
        return found
    except (IndexError, struct.error):
        return []


async def ask_udp(address, query):
    loop = asyncio.get_running_loop()
    answer = loop.create_future()

    class Client(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            transport.sendto(query)

        def datagram_received(self, data, _):
            if data[:2] == query[:2] and not answer.done():
                answer.set_result(data)

        def error_received(self, error):
            if not answer.done():
                answer.set_exception(error)

    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=(address, 53))
    try:
        return await answer
    finally:
        transport.close()


async def ask_tcp(address, query):
    reader, writer = await asyncio.open_connection(address, 53)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()


async def serve(server, listen):
    loop = asyncio.get_running_loop()
    running = set()  # the loop itself keeps only weak references to tasks

    class Udp(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, sender):
            task = loop.create_task(self.respond(data, sender))
            running.add(task)
            task.add_done_callback(running.discard)

        async def respond(self, data, sender):
            answer = await server.answer(data)
            if answer:
                self.transport.sendto(answer, sender)

    async def tcp(reader, writer):
        try:
            while True:
                (length,) = struct.unpack("!H", await asyncio.wait_for(reader.readexactly(2), 10))
                answer = await server.answer(await reader.readexactly(length), tcp=True)
                if answer:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            pass
        finally:
            writer.close()

    await loop.create_datagram_endpoint(Udp, local_addr=(listen, 53))
    await asyncio.start_server(tcp, listen, 53)
    log(f"answering on {listen}:53, forwarding to {', '.join(server.upstream) or 'nobody'}")
    await asyncio.Event().wait()


if __name__ == "__main__":
    given = arguments("server", "pki", "listen", "upstream")
    upstream = [address for address in given["upstream"].split(",") if address]
    asyncio.run(serve(Server(Zone(Api(given["server"], given["pki"])), upstream), given["listen"]))
