import { freePort } from './net.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'

/** One server of a cluster of NATS. */
export interface NatsNode {
  url: string
  program: Program
}

/** A cluster of `count` nats-servers, each linked with all others. */
export async function natsCluster(count: number): Promise<NatsNode[]> {
  const port = async () => ({ client: await freePort(), route: await freePort() })
  const ports = await Promise.all(Array.from({ length: count }, port))
  const routes = ports.map(({ route }) => `nats://127.0.0.1:${route}`)
  const nodes = ports.map(({ client, route }, number): NatsNode => {
    const others = routes.filter((_, other) => other !== number).join(',')
    const program = start(peerPath('nats-server'), [
      ...['-a', '127.0.0.1', '-p', `${client}`],
      ...['--cluster_name', 'test', '--cluster', `nats://127.0.0.1:${route}`, '--routes', others],
    ])
    return { url: `nats://127.0.0.1:${client}`, program }
  })
  await Promise.all(nodes.map(({ program }) => program.complains(/Server is ready/)))
  if (count > 1) {
    await Promise.all(nodes.map(({ program }) => program.complains(/Route connection created/)))
  }
  return nodes
}
