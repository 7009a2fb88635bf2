// A microservice on amqplib.

import { closed, require, say, serve } from './lines.mjs'

const amqplib = require('amqplib')

let connection
let publishing

// What JSON can tell of a header.
function plain(value) {
  if (Buffer.isBuffer(value)) return value.toString()
  if (typeof value === 'object' && value !== null && value['!'] === 'timestamp') return value.value
  return value
}

async function connect({ uri }) {
  connection = await amqplib.connect(uri)
  connection.on('error', (error) => closed(error.message))
  connection.on('close', () => closed('connection closed'))
  publishing = await connection.createConfirmChannel()
}

async function consume({ exchange, pattern }) {
  const channel = await connection.createChannel()
  const { queue } = await channel.assertQueue('', { exclusive: true, autoDelete: true })
  await channel.bindQueue(queue, exchange, pattern)
  await channel.consume(queue, (message) => {
    channel.ack(message)
    const headers = Object.entries(message.properties.headers ?? {}).map(([name, value]) => [name, plain(value)])
    say({
      event: {
        exchange: message.fields.exchange,
        key: message.fields.routingKey,
        body: message.content.toString('base64'),
        message_id: message.properties.messageId ?? null,
        correlation_id: message.properties.correlationId ?? null,
        headers: Object.fromEntries(headers),
      },
    })
  })
}

async function publish({ exchange, key, body, message_id, expiration_ms, persistent, headers }) {
  publishing.publish(exchange, key, Buffer.from(body, 'base64'), {
    messageId: message_id ?? undefined,
    expiration: expiration_ms ?? undefined,
    persistent,
    headers,
  })
  await publishing.waitForConfirms()
}

await serve({ connect, consume, publish })
