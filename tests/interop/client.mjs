// A partner's client in another language: it shares nothing with the broker but the .proto files.
//
//   node client.mjs TARGET CA CERT KEY PROTO_DIR GOOGLE_DIR REQUEST_JSON
//
// Makes the request once by the unary call and twice, in one message, over the stream; each time under a fresh
// id. Prints one JSON line for each answer, bytes in base64, and exits 0 unless it could not ask at all.
// GOOGLE_DIR is where google/rpc/status.proto lies. Nothing is verified here: that is the reader's part.

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const SECONDS = 10;

const [target, ca, cert, key, protoDir, googleDir, requestJson] = process.argv.slice(2);
if (requestJson === undefined) {
  console.error('usage: client.mjs TARGET CA CERT KEY PROTO_DIR GOOGLE_DIR REQUEST_JSON');
  process.exit(2);
}
const request = JSON.parse(requestJson);
const definition = await protoLoader.load('broker/v1/exchange.proto', {
  includeDirs: [protoDir, googleDir],
  keepCase: true,
  longs: String,
  enums: String,
  oneofs: true,
});
const { ExchangeService } = grpc.loadPackageDefinition(definition).broker.v1;
const credentials = grpc.credentials.createSsl(readFileSync(ca), readFileSync(key), readFileSync(cert));
const client = new ExchangeService(target, credentials);
const deadline = () => new Date(Date.now() + SECONDS * 1000);

// Bytes come as Buffers, in any depth.
const print = (line) =>
  console.log(
    JSON.stringify(line, (_name, value) =>
      value?.type === 'Buffer' ? Buffer.from(value.data).toString('base64') : value,
    ),
  );

const failure = (error) => ({
  code: error.code,
  message: error.details,
  details: error.metadata?.get('grpc-status-details-bin')[0],
});

function unary() {
  const asked = { ...request, request_id: randomUUID() };
  return new Promise((resolve) => {
    client.Request(asked, { deadline: deadline() }, (error, disclosure) => {
      if (error) print({ way: 'unary', request_id: asked.request_id, error: failure(error) });
      else print({ way: 'unary', request_id: asked.request_id, disclosure });
      resolve();
    });
  });
}

function streamed() {
  const ids = [randomUUID(), randomUUID()];
  return new Promise((resolve) => {
    const stream = client.Exchange({ deadline: deadline() });
    const waiting = new Set(ids);
    stream.on('data', (reply) => {
      for (const outcome of reply.outcomes) {
        waiting.delete(outcome.request_id);
        print({
          way: 'stream',
          request_id: outcome.request_id,
          [outcome.result]: outcome[outcome.result],
          checkpoint: reply.checkpoint,
        });
      }
      if (waiting.size === 0) stream.end();
    });
    stream.on('error', (error) => {
      print({ way: 'stream', request_ids: [...waiting], error: failure(error) });
      resolve();
    });
    stream.on('end', resolve);
    stream.write({ requests: ids.map((id) => ({ ...request, request_id: id })) });
  });
}

await unary();
await streamed();
client.close();
