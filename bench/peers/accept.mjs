// A send as a plain application writes it: Express, one INSERT and one job for each request.
//
//     DATABASE_URL=... REDIS_URL=... node accept.mjs PORT KEY
//
// The key is looked up in memory, the body is parsed as JSON and looked at, the row is committed
// (PostgreSQL's own synchronous_commit), and the job carries the row's id.
import { randomUUID } from 'node:crypto'
import { Queue } from 'bullmq'
import express from 'express'
import pg from 'pg'

const [port, key] = process.argv.slice(2)
const POOL = 20

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: POOL })
await pool.query(`
  create table if not exists peer_mails (
    id uuid primary key, project text not null, recipient text not null, subject text not null,
    body text not null, status text not null default 'queued',
    created_at timestamptz not null default now())`)

const { hostname, port: redisPort, password, pathname } = new URL(process.env.REDIS_URL)
const queue = new Queue('mails', {
  connection: {
    host: hostname,
    port: Number(redisPort),
    password: decodeURIComponent(password),
    db: Number(pathname.slice(1) || 0),
  },
})
await queue.waitUntilReady()

const projects = new Map([[key, 'bench']])
const app = express()
app.disable('x-powered-by')
app.set('etag', false)
app.use(express.json())

app.post('/send', async (request, response) => {
  const project = projects.get(request.get('x-api-key'))
  if (project === undefined) {
    response.status(401).json({ success: false, message: 'Invalid key.' })
    return
  }
  const { to, subject, text } = request.body
  if (![to, subject, text].every((value) => typeof value === 'string' && value !== '')) {
    response.status(400).json({ success: false, message: 'Invalid mail.' })
    return
  }
  const id = randomUUID()
  await pool.query(
    'insert into peer_mails (id, project, recipient, subject, body) values ($1, $2, $3, $4, $5)',
    [id, project, to, subject, text],
  )
  await queue.add('send', { id })
  response.json({ success: true, data: { id }, message: 'Mail queued successfully.' })
})

app.listen(Number(port), '127.0.0.1')
