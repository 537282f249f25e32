"""Logs in to many servers with asyncssh. Reads a JSON list of rows from stdin and prints one verdict a row: refused, in or forwards.

A row: port, host key, user, key and certificate (or null), and the port on loopback that a stream is to lead to.
"""

import asyncio
import json
import sys

import asyncssh


async def verdict(row):
    known_hosts = ([asyncssh.import_public_key(row['hostKey'])], [], [])
    key = (row['key'], row['certificate']) if row['certificate'] else row['key']
    try:
        connection = await asyncssh.connect(
            '127.0.0.1', row['port'], username=row['user'], client_keys=[key], agent_path=None, config=None,
            known_hosts=known_hosts)
    except (asyncssh.PermissionDenied, asyncssh.KeyImportError) as error:
        return 'refused'
    async with connection:
        try:
            _, writer = await connection.open_connection('127.0.0.1', row['target'], encoding=None)
            writer.close()
            return 'forwards'
        except asyncssh.ChannelOpenError:
            return 'in'


async def main():
    gate = asyncio.Semaphore(8)

    async def one(row):
        async with gate:
            return await verdict(row)

    print(json.dumps(await asyncio.gather(*map(one, json.load(sys.stdin)))), flush=True)


asyncio.run(main())
