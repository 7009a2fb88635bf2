// The conversation with a test: one JSON object per line. See tests/harness/src/client_script.rs.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { writeSync } from 'node:fs'

// Packages are found through NODE_PATH, which only `require` looks at.
export const require = createRequire(import.meta.url)

export const PATIENCE_MS = 60_000

export function say(line) {
  const bytes = Buffer.from(JSON.stringify(line) + '\n')
  let written = 0
  while (written < bytes.length) {
    try {
      written += writeSync(1, bytes, written)
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
    }
  }
}

// Tells that the connection has ended, and ends: nothing more can come of this client.
export function closed(reason, code) {
  say({ closed: String(reason), code })
  process.exit(0)
}

// Does what the test asks for, one operation after the other, until it has no more to ask.
export async function serve(operations) {
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    try {
      say({ reply: (await operations[request.op](request)) ?? {} })
    } catch (error) {
      say({ reply: { error: String(error?.message ?? error), code: error?.code } })
    }
  }
  process.exit(0)
}
