// The `sonde` commands that give what a view shows. A server of this machine tells the paths it was started with, and the commands run where it was started; others tell
// what they call things, and the reader puts the files there.
import { quote } from './format.js';

export const model = (config) => (config.file ? quote(config.file) : 'MODEL');
// The stream after the middle block: where a first dictionary finds most.
export const middle = (config) => `resid_post.${config.model ? Math.floor((config.model.n_layer - 1) / 2) : 'LAYER'}`;
export const learn = (config) => `sonde dict train ${model(config)} TEXT/ --site ${middle(config)} --width 8192 --k 32 -o dict`;
let known = { dicts: [], stores: [] };
export const of = (config) => { known = config; };
export const store = (name) => quote(known.stores.find((s) => s.name === name)?.path ?? `${name}.db`);
const dict = (name) => known.dicts.find((d) => d.name === name)?.path;
const registered = (name, path, own) => quote(path && own(path) === name ? path : `${name}=${path ?? 'DIR'}`);
const base = (path) => path.replace(/\/+$/, '').replace(/.*\//, '');
export const serve = (config) => ['sonde serve', config.model ? model(config) : '', ...config.dicts.map((d) => `--dict ${registered(d.name, d.path, base)}`), ...config.stores.map((s) => `--store ${s.path ? registered(s.name, s.path, (p) => base(p).replace(/\.db$/, '')) : store(s.name)}`)].filter(Boolean).join(' ');
export const search = (name, q, limit) => `sonde feature search ${store(name)} ${q ? quote(q) : ''}${limit ? ` --limit ${limit}` : ''}`.replace(/ +/g, ' ').trim();
export const show = (name, index) => `sonde feature show ${store(name)} ${index}`;
export const follow = (run) => `tail -f ${quote(`${run.path ?? run.name}/events.jsonl`)}`;
// ids: of a chat, which the command knows as tokens alone.
export const lens = (config, text, ids, mode) => `sonde lens ${model(config)} ${ids ? `--ids ${ids.join(',')}` : `--text ${quote(text)}`}${mode ? ` --mode ${mode}` : ''}`;
export const contrast = (config, stored, words, of_dict, chat) => `sonde feature contrast ${stored ? store(stored) : 'STORE.db'} a.txt b.txt --dict ${quote(dict(of_dict) ?? 'DIR')} --model ${model(config)}${chat ? ' --chat' : ''}${words ? words.split(',').map((w) => w.trim()).filter(Boolean).map((w) => ` --count ${quote(w)}`).join('') : ''}`;
// A command that a document brings, which may come from anyone: words as a shell reads them and nothing that it would do beside. The program is the one that is here.
const WORD = String.raw`(?:[\w@%+=:,./-]|'[^']*'|\\')+`, KEPT = new RegExp(`^${WORD}((?: ${WORD})+(?: \\| jq '[^']*')?)$`);
export const kept = (text = '') => (/^the command was too long/.test(text) ? text : KEPT.test(text) ? `sonde${KEPT.exec(text)[1]}` : '# what this document names is no command of sonde');
// A number's own command in an audit ends with its place in the JSON: the same with another place, beside `x` or in `.inside`.
export const within = (text, name) => kept(text).replace(/\.(inside|refusal)'$/, (_, last) => `${last === 'inside' ? '.inside' : ''}.${name}'`);
// A conversation is more than `sonde run` takes: the same request to this server.
export const ask = (path, body) => `curl -s ${location.origin}/${path} -H 'Content-Type: application/json' -d ${quote(JSON.stringify(body))}`;
// A steer as `sonde run` reads it: dictionaries by their folders.
const folder = (f) => ({ ...f, dict: dict(f.dict) ?? f.dict });
// It knows no monitor by its name: what the monitor looks at stands there, under the bounds of the steer.
function condition({ monitor, ...own }) {
  const all = { ...known.monitors?.find((m) => m.name === monitor)?.when, ...own };
  return all.feature ? { ...all, feature: folder(all.feature) } : all;
}
const onDisk = (s) => ({ ...s, ...(s.feature && { feature: folder(s.feature) }), ...(s.when && { when: condition(s.when) }) });
export function run(config, { prompt, chat, steers, compare, n, temp, seed, system }) {
  const part = [`sonde run ${model(config)} -p ${quote(prompt)}`];
  if (chat) part.push('--chat');
  if (system) part.push(`--system ${quote(system)}`);
  for (const s of steers) part.push(`--steer ${quote(JSON.stringify(onDisk(s)))}`);
  if (compare) part.push('--compare');
  part.push(`-n ${quote(n)} --temp ${quote(temp)} --seed ${quote(seed)}`);
  return part.join(' ');
}
