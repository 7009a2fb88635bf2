// A device on mqtt.js, MQTT 5.

import { PATIENCE_MS, closed, require, say, serve } from './lines.mjs'

const mqtt = require('mqtt')

let client
let refusal

async function connect({ id, port, persistent, keep_alive_s }) {
  client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
    clientId: id,
    protocolVersion: 5,
    clean: !persistent,
    keepalive: keep_alive_s,
    connectTimeout: PATIENCE_MS,
    reconnectPeriod: 0,
    properties: persistent ? { sessionExpiryInterval: 3600 } : {},
  })
  client.on('message', (topic, payload, packet) => {
    const properties = Object.entries(packet.properties?.userProperties ?? {})
    say({
      event: {
        topic,
        payload: payload.toString('base64'),
        qos: packet.qos,
        duplicate: packet.dup,
        user_properties: properties.flatMap(([name, values]) => [values].flat().map((value) => [name, value])),
      },
    })
  })
  client.on('disconnect', (packet) => (refusal = packet.reasonCode))
  const connack = await new Promise((resolve, reject) => {
    client.once('connect', resolve)
    client.once('error', reject)
  })
  client.on('error', () => {})
  client.on('close', () => closed(refusal === undefined ? 'connection closed' : `DISCONNECT ${refusal}`, refusal))
  return { session_present: connack.sessionPresent }
}

async function subscribe({ filter, qos }) {
  const [granted] = await client.subscribeAsync(filter, { qos })
  if (granted.qos > 2) throw Object.assign(new Error('subscription refused'), { code: granted.qos })
}

async function publish({ topic, payload, qos }) {
  await client.publishAsync(topic, Buffer.from(payload, 'base64'), { qos })
}

async function disconnect() {
  client.end()
}

await serve({ connect, subscribe, publish, disconnect })
