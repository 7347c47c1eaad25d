"""A server that ends lets go of its clients one after the other."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
from tls_services import make_pki

from knarr.apiserver.config import ServerConfig
from knarr.apiserver.lifecycle import serve
from knarr.apiserver.listener import Listener
from knarr.apiserver.server import APIServer
from knarr.cluster.components import server_tls
from knarr.kit.chance import Chance
from knarr.kit.clock import RealClock
from knarr.store.memory import MemoryStore
from knarr.testing.keys import service_account_key


def test_readiness_fails_first_then_watches_end_and_requests_finish(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    certificate, key = pki.ensure("admin", "admin", groups=["system:masters"])

    async def main() -> None:
        clock = RealClock()
        store = MemoryStore(clock)
        server = APIServer(store, ServerConfig(service_account_key(), address="127.0.0.1"), clock=clock, chance=Chance())
        tls = server_tls(str(pki.path("service.crt")), str(pki.path("service.key")), str(pki.path("ca.crt")))
        listener = Listener(server, host="127.0.0.1", port=0, tls=tls, clock=clock)
        serving = asyncio.ensure_future(serve(server, listener, delay_s=0.5))
        await asyncio.wait_for(listener.listening.wait(), 10)
        url = f"https://127.0.0.1:{listener.port}"
        trusted = ssl.create_default_context(cafile=str(pki.path("ca.crt")))
        trusted.load_cert_chain(certificate, key)
        put = store.put

        async def slowly(*given: object, **named: object) -> int:
            await asyncio.sleep(1.2)
            return await put(*given, **named)  # type: ignore[arg-type]

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as session:

            async def watch() -> bytes:
                async with session.get(f"{url}/api/v1/configmaps?watch=true&resourceVersion=1") as answer:
                    return await answer.read()

            async def readiness() -> tuple[int, str]:
                async with session.get(f"{url}/readyz?verbose") as answer:
                    return answer.status, await answer.text()

            async def create() -> int:
                body = {"metadata": {"name": "late"}}
                async with session.post(f"{url}/api/v1/namespaces/default/configmaps", json=body) as answer:
                    return answer.status

            assert (await readiness())[0] == 200
            watching = asyncio.ensure_future(watch())
            await asyncio.sleep(0.2)
            store.put = slowly  # type: ignore[method-assign]
            creating = asyncio.ensure_future(create())
            await asyncio.sleep(0.1)
            serving.cancel()
            await asyncio.sleep(0.1)
            status, text = await readiness()
            assert status == 500 and "[-]shutdown failed: reason withheld" in text
            assert not watching.done()
            # The watch ends as a whole answer does, and the write that was under way is done.
            await asyncio.wait_for(watching, 5)
            assert await asyncio.wait_for(creating, 5) == 201
        await asyncio.wait([serving], timeout=10)
        assert serving.cancelled()
        assert (await store.range("/registry/configmaps/default/late")).items

    asyncio.run(main())
