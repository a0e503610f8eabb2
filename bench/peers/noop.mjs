// BullMQ's no-op jobs a second in one worker: enqueued first, then timed from the worker's start to the last job.
//
//     REDIS_URL=... node noop.mjs JOBS CONCURRENCY   prints {"rate": ..., "cpu": ...}
import { Queue, Worker } from 'bullmq'

const [jobs, concurrency] = process.argv.slice(2).map(Number)
const { hostname, port, password, pathname } = new URL(process.env.REDIS_URL)
const connection = {
  host: hostname,
  port: Number(port),
  password: decodeURIComponent(password),
  db: Number(pathname.slice(1) || 0),
}

const queue = new Queue('nothing', { connection })
await queue.waitUntilReady()
for (let start = 0; start < jobs; start += 1000) {
  const count = Math.min(1000, jobs - start)
  await queue.addBulk(
    Array.from({ length: count }, (_, i) => ({
      name: 'nothing',
      data: { id: start + i },
      opts: { removeOnComplete: true },
    })),
  )
}

let done = 0
let finish
const finished = new Promise((resolve) => {
  finish = resolve
})
const worker = new Worker(
  'nothing',
  async () => {
    done += 1
    if (done === jobs) finish()
  },
  { connection, concurrency, autorun: false },
)
await worker.waitUntilReady()
const before = process.cpuUsage()
const began = process.hrtime.bigint()
worker.run()
await finished
const seconds = Number(process.hrtime.bigint() - began) / 1e9
const { user, system } = process.cpuUsage(before)
await worker.close()
await queue.close()
process.stdout.write(JSON.stringify({ rate: jobs / seconds, cpu: (user + system) / jobs }))
