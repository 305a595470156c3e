// A second verifier of receipts, written from the specifications and sharing no code with the broker:
//
//   C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof; RFC 6962 section 2.1 (the recursive
//   definitions, not RFC 9162's loops); RFC 8032, RFC 8785; and the product's own words on entries, views and
//   records (docs/audit.md, "What a receipt is made of").
//
//   node verifier.mjs < questions.jsonl > verdicts.jsonl
//
// A question is {"kind": "receipt", proof, entry, vkey, opening, record, policy} or {"kind": "consistency",
// older, newer, hashes, vkey}: bytes in base64, null where there is none; policy is {quorum, vkeys}. A verdict is
// {"verdict": "good" | "bad" | "unwitnessed", "why"}. Node's standard library only.

import { createHash, createHmac, createPublicKey, verify } from 'node:crypto';
import { createInterface } from 'node:readline';

const MAX_SIZE = (1n << 63n) - 1n;
const MAX_NOTE = 1 << 17;
const MAX_VIEW = 1 << 20;
const MAX_ENTRY = 0xffff;

class Bad extends Error {}
const require_ = (holds, why) => {
  if (!holds) throw new Bad(why);
};

const sha256 = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const EMPTY = sha256();
const leafHash = (entry) => sha256(Buffer.of(0), entry);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

const utf8 = (bytes, what) => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Bad(`${what}: not UTF-8`);
  }
};

// RFC 4648 section 4, one spelling for each value.
const base64 = (text, what) => {
  const value = Buffer.from(text, 'base64');
  require_(value.toString('base64') === text, `${what}: not base64 as it is written`);
  return value;
};

// --- RFC 6962 section 2.1 ---

const split = (n) => {
  let k = 1n;
  while (k * 2n < n) k *= 2n;
  return k;
};

// The root that PATH(m, D[n]) leads to. `path` is consumed from its end, the root's child.
function rootFromPath(leaf, m, n, path) {
  if (n === 1n) return leaf;
  const k = split(n);
  require_(path.length > 0, 'inclusion: too few hashes');
  const last = path.pop();
  return m < k
    ? nodeHash(rootFromPath(leaf, m, k, path), last)
    : nodeHash(last, rootFromPath(leaf, m - k, n - k, path));
}

function checkInclusion(leaf, index, size, path, root) {
  require_(index < size, 'inclusion: not in the tree');
  const rest = [...path];
  const made = rootFromPath(leaf, index, size, rest);
  require_(rest.length === 0, 'inclusion: too many hashes');
  require_(made.equals(root), 'inclusion: another root');
}

// SUBPROOF(m, D[n], whole): the roots of both trees, as the proof has them.
function rootsFromSubproof(m, n, whole, oldRoot, proof) {
  if (m === n) {
    if (whole) return [oldRoot, oldRoot];
    require_(proof.length > 0, 'consistency: too few hashes');
    const hash = proof.pop();
    return [hash, hash];
  }
  const k = split(n);
  require_(proof.length > 0, 'consistency: too few hashes');
  const last = proof.pop();
  if (m <= k) {
    const [before, after] = rootsFromSubproof(m, k, whole, oldRoot, proof);
    return [before, nodeHash(after, last)];
  }
  const [before, after] = rootsFromSubproof(m - k, n - k, false, oldRoot, proof);
  return [nodeHash(last, before), nodeHash(last, after)];
}

function checkConsistency(older, newer, hashes) {
  require_(older.size <= newer.size, 'consistency: the newer one is smaller');
  const rest = [...hashes];
  if (older.size === 0n || older.size === newer.size) {
    require_(rest.length === 0, 'consistency: a proof of nothing');
    if (older.size === newer.size) require_(older.root.equals(newer.root), 'consistency: two roots');
    return;
  }
  const [before, after] = rootsFromSubproof(older.size, newer.size, true, older.root, rest);
  require_(rest.length === 0, 'consistency: too many hashes');
  require_(before.equals(older.root) && after.equals(newer.root), 'consistency: not a prefix');
}

// --- signed-note, tlog-cosignature ---

const LOG = 1;
const COSIGNER = 4;
const checkName = (name) =>
  require_(name !== '' && !/[\p{White_Space}+\u0000-\u001f]/u.test(name), 'note: not a key name');

const keyId = (name, kind, key) => sha256(Buffer.from(`${name}\n`), Buffer.of(kind), key).subarray(0, 4);

function parseVkey(text) {
  const parts = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/su.exec(text);
  require_(parts !== null, 'vkey: not name+id+key');
  const [, name, id, encoded] = parts;
  checkName(name);
  const material = base64(encoded, 'vkey');
  require_(material.length === 33, 'vkey: not a kind and 32 bytes');
  const kind = material[0];
  require_(kind === LOG || kind === COSIGNER, 'vkey: another kind');
  const key = material.subarray(1);
  const made = keyId(name, kind, key);
  require_(made.toString('hex') === id, 'vkey: another id');
  const x = key.toString('base64url');
  return { text, name, kind, id: made, key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) };
}

function parseVkeys(bytes) {
  const lines = utf8(bytes, 'vkeys').replace(/\n$/, '').split('\n');
  require_(lines.length <= 64, 'vkeys: too many');
  return lines.map(parseVkey);
}

function parseNote(bytes) {
  require_(bytes.length <= MAX_NOTE, 'note: too long');
  const whole = utf8(bytes, 'note');
  const at = whole.lastIndexOf('\n\n');
  require_(at >= 0 && whole.endsWith('\n') && at + 2 < whole.length, 'note: no signatures');
  const text = whole.slice(0, at + 1);
  require_(!/[\u0000-\u0009\u000b-\u001f]/.test(text), 'note: a control character');
  const lines = whole.slice(at + 2, -1).split('\n');
  require_(lines.length <= 32, 'note: too many signatures');
  return { text, signatures: lines.map(parseSignature) };
}

function parseSignature(line) {
  require_(line.startsWith('\u2014 '), 'note: no dash');
  const space = line.lastIndexOf(' ');
  require_(space > 1, 'note: no name and signature');
  const name = line.slice(2, space);
  checkName(name);
  const value = base64(line.slice(space + 1), 'note');
  require_(value.length > 4, 'note: too short a signature');
  return { name, id: value.subarray(0, 4), signature: value.subarray(4) };
}

// Which of the keys signed, with the time of cosigners; a known key's line that fails refuses the whole note.
function signers(note, keys) {
  const found = new Map();
  for (const line of note.signatures) {
    for (const key of keys) {
      if (key.name !== line.name || !key.id.equals(line.id)) continue;
      require_(!found.has(key.text), 'note: signed twice');
      found.set(key.text, key);
      let message = Buffer.from(note.text);
      let signature = line.signature;
      if (key.kind === COSIGNER) {
        require_(signature.length === 72, 'note: not a timestamped signature');
        const time = signature.readBigUInt64BE(0);
        require_(time <= MAX_SIZE, 'note: no such time');
        message = Buffer.concat([Buffer.from(`cosignature/v1\ntime ${time}\n`), message]);
        signature = signature.subarray(8);
      }
      require_(signature.length === 64 && verify(null, message, key.key, signature), 'note: does not verify');
    }
  }
  return [...found.values()];
}

// --- tlog-checkpoint ---

function openCheckpoint(bytes, keys) {
  const note = parseNote(bytes);
  const lines = note.text.slice(0, -1).split('\n');
  require_(lines.length >= 3 && lines.every((line) => line !== ''), 'checkpoint: not its lines');
  const [origin, digits, encoded] = lines;
  require_(/^(0|[1-9][0-9]{0,18})$/.test(digits), 'checkpoint: not a size');
  const size = BigInt(digits);
  const root = base64(encoded, 'checkpoint');
  require_(size <= MAX_SIZE && root.length === 32, 'checkpoint: not a size and a root');
  if (size === 0n) require_(root.equals(EMPTY), 'checkpoint: an empty tree with a root');
  const unique = [...new Map(keys.map((key) => [key.text, key])).values()];
  const by = signers(note, unique);
  require_(
    by.some((key) => key.kind === LOG && key.name === origin),
    'checkpoint: not signed by its log',
  );
  return { origin, size, root, by, body: note.text };
}

// --- tlog-proof ---

function parseProof(bytes) {
  require_(bytes.length <= 2 * MAX_NOTE, 'proof: too long');
  const at = bytes.indexOf('\n\n');
  require_(at >= 0, 'proof: no empty line');
  const head = bytes.subarray(0, at);
  require_(head.every((byte) => byte < 128), 'proof: not ASCII');
  const [magic, ...lines] = head.toString('latin1').split('\n');
  require_(magic === 'c2sp.org/tlog-proof@v1', 'proof: another format');
  // A receipt carries no extra data: nothing would vouch for it.
  const index = /^index (0|[1-9][0-9]{0,18})$/.exec(lines.shift() ?? '');
  require_(index !== null && BigInt(index[1]) < MAX_SIZE, 'proof: no index');
  require_(lines.length <= 63, 'proof: too many hashes');
  const path = lines.map((line) => base64(line, 'proof'));
  require_(path.every((hash) => hash.length === 32), 'proof: not a hash');
  return { index: BigInt(index[1]), path, checkpoint: bytes.subarray(at + 2) };
}

// --- RFC 8785, limited: no floats, no integers past 2^53, ASCII keys, at most 32 deep ---

function canonical(value, depth = 0) {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') {
    require_(value.isWellFormed(), 'json: a lone surrogate');
    return JSON.stringify(value);
  }
  if (typeof value === 'number') {
    require_(Number.isSafeInteger(value), 'json: not a safe integer');
    return JSON.stringify(value);
  }
  require_(depth < 32, 'json: too deep');
  if (Array.isArray(value)) return `[${value.map((each) => canonical(each, depth + 1)).join(',')}]`;
  const keys = Object.keys(value).sort();
  // eslint-disable-next-line no-control-regex
  require_(keys.every((key) => /^[\u0000-\u007f]*$/.test(key)), 'json: a key that is not ASCII');
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key], depth + 1)}`).join(',')}}`;
}

function readObject(bytes, most, what) {
  require_(bytes.length <= most, `${what}: too long`);
  const text = utf8(bytes, what);
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Bad(`${what}: not JSON`);
  }
  require_(value !== null && typeof value === 'object' && !Array.isArray(value), `${what}: not an object`);
  require_(canonical(value) === text, `${what}: not canonical`);
  return value;
}

// --- entries, views, records: the product's own ---

const HEX = /^[0-9a-f]{64}$/;
const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

function checkTime(text) {
  require_(/^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/.test(text), 'entry: not a time');
  const at = new Date(text);
  // Comes back with another day or hour where there is no such day.
  require_(!Number.isNaN(at.getTime()) && at.toISOString() === text.replace('Z', '.000Z'), 'entry: no such time');
  require_(!text.startsWith('0000'), 'entry: no such year');
}

function parseEntry(bytes) {
  const entry = readObject(bytes, MAX_ENTRY, 'entry');
  const keys = Object.keys(entry).sort().join();
  const rotation = keys === 'at,id,log,v';
  require_(rotation || keys === 'at,full,id,provider,requester,v', 'entry: other keys');
  require_(entry.v === 1, 'entry: another version');
  for (const key of rotation ? ['at', 'id', 'log'] : ['at', 'id', 'full', 'provider', 'requester'])
    require_(typeof entry[key] === 'string', `entry: ${key}`);
  checkTime(entry.at);
  require_(UUID4.test(entry.id), 'entry: not a random UUID');
  if (rotation) require_(entry.log !== '', 'entry: names no log');
  else require_([entry.full, entry.provider, entry.requester].every((c) => HEX.test(c)), 'entry: not hex');
  return { ...entry, rotation };
}

const TEXTS =
  'request_id outcome code record_type provider agreement response regime controller trace'.split(' ');

function parseView(bytes) {
  const view = readObject(bytes, MAX_VIEW, 'view');
  require_(view.v === 1, 'view: another version');
  require_(typeof view.event === 'string' && view.event !== '', 'view: no event');
  for (const key of TEXTS)
    require_(Object.hasOwn(view, key) && (view[key] === null || typeof view[key] === 'string'), `view: ${key}`);
  require_(view.response === null || HEX.test(view.response), 'view: response');
  return view;
}

function openView(entry, opening) {
  require_(!entry.rotation, 'opening: a rotation commits to nothing');
  require_(opening.length > 32 && opening.length <= 32 + MAX_VIEW, 'opening: not a salt and a view');
  const view = opening.subarray(32);
  const made = createHmac('sha256', opening.subarray(0, 32)).update(view).digest('hex');
  require_([entry.requester, entry.provider, entry.full].includes(made), 'opening: opens nothing');
  return parseView(view);
}

// A serialised Any has one spelling here: field 1, then field 2 unless it is empty, shortest lengths.
function recordDigest(bytes) {
  let at = 0;
  const field = (tag) => {
    require_(bytes[at] === tag, 'record: another field');
    at += 1;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      require_(at < bytes.length && shift < 28, 'record: no length');
      const byte = bytes[at++];
      length += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        require_(shift === 0 || byte !== 0, 'record: a long length');
        break;
      }
    }
    require_(at + length <= bytes.length, 'record: ends inside a field');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const url = field(0x0a);
  require_(url.length > 0 && !url.includes(0), 'record: no type');
  require_(utf8(url, 'record').length <= 1024, 'record: too long a type');
  let value = Buffer.alloc(0);
  if (at < bytes.length) {
    value = field(0x12);
    require_(value.length > 0 && value.length <= 1 << 20, 'record: an empty or too large value');
  }
  require_(at === bytes.length, 'record: more fields');
  return sha256(url, Buffer.of(0), value).toString('hex');
}

// --- the questions ---

function receipt({ proof, entry, vkey, opening, record, policy }) {
  const keys = parseVkeys(vkey);
  const file = parseProof(proof);
  const checkpoint = openCheckpoint(file.checkpoint, keys);
  require_(entry.length <= MAX_ENTRY, 'entry: too long');
  checkInclusion(leafHash(entry), file.index, checkpoint.size, file.path, checkpoint.root);
  const said = parseEntry(entry);
  const view = opening === null ? null : openView(said, opening);
  if (record !== null) {
    const digest = recordDigest(record);
    require_(view !== null && view.response === digest, 'record: not the one released');
  }
  if (policy === null) return 'good';
  const witnesses = policy.vkeys.map(parseVkey);
  const cosigned = openCheckpoint(file.checkpoint, [...keys, ...witnesses]).by.map((key) => key.text);
  const count = witnesses.filter((key) => cosigned.includes(key.text)).length;
  return count >= policy.quorum ? 'good' : 'unwitnessed';
}

function consistency({ older, newer, hashes, vkey }) {
  const keys = parseVkeys(vkey);
  require_(hashes.every((hash) => hash.length === 32), 'consistency: not hashes');
  checkConsistency(openCheckpoint(older, keys), openCheckpoint(newer, keys), hashes);
  return 'good';
}

const HALF = /^([^/]+)\/log\/([0-9]{4}h[12])$/;

// A later log of the same trust domain.
function checkLater(origin, later) {
  const [before, after] = [HALF.exec(origin), HALF.exec(later)];
  require_(before !== null && after !== null, 'rotation: not the name of a log');
  require_(before[1] === after[1] && before[2] < after[2], 'rotation: not a later log of this trust domain');
}

function namedBy(entry) {
  const parsed = parseEntry(entry);
  require_(parsed.rotation, 'rotation: the entry links no logs');
  return parsed.log;
}

// From a checkpoint of the old log to the new one's key, and back.
function follow({ known, vkey, last, lastProof, final, consistency, first, firstProof, head }) {
  const keys = parseVkeys(vkey);
  const [before, end] = [openCheckpoint(known, keys), openCheckpoint(final, keys)];
  require_(before.origin === end.origin, 'rotation: the end of another log');
  checkConsistency(before, end, consistency);
  require_(end.size > 0n, 'rotation: an empty log');
  checkInclusion(leafHash(last), end.size - 1n, end.size, lastProof, end.root);
  const key = parseVkey(namedBy(last));
  require_(key.kind === LOG, 'rotation: not a log key');
  checkLater(end.origin, key.name);
  require_(keys.every((each) => each.name !== key.name || each.text === key.text), 'rotation: another key is held');
  const opened = openCheckpoint(head, [key]);
  require_(opened.size > 0n, 'rotation: an empty log');
  checkInclusion(leafHash(first), 0n, opened.size, firstProof, opened.root);
  const back = openCheckpoint(Buffer.from(namedBy(first)), keys);
  require_(back.body === end.body, 'rotation: the new log begins with another end');
  return key.text;
}

const bytesOf = (value) =>
  typeof value === 'string' ? Buffer.from(value, 'base64') : Array.isArray(value) ? value.map(bytesOf) : value;

function answer(question) {
  const { kind, policy, ...rest } = question;
  const given = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, bytesOf(value)]));
  try {
    if (kind === 'follow') return { verdict: 'good', why: '', vkey: follow(given) };
    return { verdict: kind === 'receipt' ? receipt({ ...given, policy }) : consistency(given), why: '' };
  } catch (error) {
    if (!(error instanceof Bad)) throw error; // a flaw of this file must not pass for a verdict
    return { verdict: 'bad', why: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (line !== '') console.log(JSON.stringify(answer(JSON.parse(line))));
}
