// Audit: a comparison of models on the same prompts, or one model's record, out of the JSON of `sonde audit`. The file stays in this browser.
import { h, fill } from './dom.js';
import * as api from './api.js';
import * as route from './route.js';
import * as command from './command.js';
import { num, percent, short, whole, day } from './format.js';
import { copies, facts, problem } from './parts.js';
import { chosen, comparison, comparisons, timeline } from './audit_compare.js';
import { pairsOf, samples } from './audit_samples.js';

// One record: rates with intervals. Two of them on the same prompts: which answers flipped.
function record(a, b, pairs, browser) {
  const axis = (r, which) => r.replies.filter((x) => x.axis === which && x.class !== 'unscored');
  const rows = [a, b].filter(Boolean).map((r) => ({ r, refusal: r.refusal, over: r.over_refusal, inc: r.incoherent }));
  const rate = (x) => (x && x.n ? `${percent(x.rate)} [${percent(x.lo)}, ${percent(x.hi)}], n ${whole(x.n)}` : 'none asked');
  return [h('section.card.headline', h('p.headline-text', b ? `${a.name} and ${b.name} on ${whole(pairs.filter((r) => r.b).length)} requests` : `${a.name} on ${whole(a.replies.length)} requests`), facts([['Judge', a.judge], ['Mode', a.mode], ['Made', day(a.provenance?.created)], ['Harmful', whole(axis(a, 'harmful').length)], ['Harmless', whole(axis(a, 'harmless').length)]])),
    h('section.card', h('h2', 'Rates'), h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Rates' }, h('table.plain', h('thead', h('tr', ['Model', 'Refuses harmful', 'Refuses harmless', 'Without sense', 'Loss on text'].map((t) => h('th', { scope: 'col' }, t)))), h('tbody', rows.map(({ r, refusal, over, inc }) => h('tr', h('th', { scope: 'row' }, r.name), h('td', rate(refusal)), h('td', rate(over)), h('td', rate(inc)), h('td.n', num(r.utility?.ce_loss))))))), h('p.note', '95 % intervals by Wilson’s method.', b ? ' For a paired comparison with a verdict: sonde audit compare.' : '')),
    browser.el];
}

export async function show({ config, parts, query }) {
  const name = parts[1], here = name ? ['audit', name] : ['audit'];
  const { audits } = await api.audits();
  let docs = [], at = 0, models = null, leave = () => {};
  const body = h('div.audit-body'), detail = h('div.audit-body'), tools = h('div.view-tools');
  const again = () => docs[0]?.provenance?.args ? command.kept(docs[0].provenance.args) : 'sonde audit compare BEFORE AFTER --suite FILE --json';
  const drop = h('label.drop', h('input', { type: 'file', accept: '.json,application/json', multiple: true, onchange: (e) => take([...e.target.files]) }), h('span', 'Open audit JSON'), h('span.soft', ' or drop one or two files here'));
  const start = () => fill(body, h('section.card', drop, audits.length ? h('ul.plain-list', audits.map((x) => h('li', h('a', { href: route.link(['audit', x]) }, x)))) : h('p.soft', 'None is registered (serve --audit FILE). A file that you open stays in this browser.')),
    h('section.card', h('h2', 'How to make one'), h('ol.steps', h('li', h('p', 'Measure two models on the same requests'), h('pre.command', { tabindex: '0' }, `sonde audit compare before.gguf after.gguf --suite requests.csv --text text.txt --json > audit.json`)), h('li', h('p', 'Or keep one model’s record, to compare later'), h('pre.command', { tabindex: '0' }, `sonde audit run ${command.model(config)} --suite requests.csv -o record.json`)))));
  const many = () => docs[0]?.schema === 'sonde.audit_compare/1' && comparisons(docs[0]).length > 1;
  function place(now) {
    leave();
    at = chosen(docs[0], now);
    models?.choose(at);
    const c = comparison(docs[0], at, now);
    leave = c.leave;
    fill(detail, c.el);
  }
  function step(by) {
    const to = at + 1 + by;
    if (many() && to >= 1 && to <= comparisons(docs[0]).length) route.go(here, { ...route.read().query, with: String(to) });
  }
  function draw(now) {
    const [a, b] = docs;
    leave();
    leave = () => {};
    models = null;
    fill(tools, h('button.small', { type: 'button', onclick: () => { docs = []; if (name) route.go(['audit']); else { start(); drawTools(); } } }, 'Another'), copies(again, () => (b ? docs : a)));
    if (a.schema === 'sonde.audit_compare/1') {
      if (many()) models = timeline(a, here, 0);
      fill(body, models, detail);
      place(now);
    } else if (a.schema === 'sonde.audit_run/1') {
      const other = b?.schema === a.schema ? b : null, pairs = pairsOf(a, other), browser = samples(pairs, { query: now });
      leave = browser.leave;
      fill(body, record(a, other, pairs, browser));
    } else fill(body, problem({ message: `This is ${a.schema ? `a document of schema ${a.schema}` : 'no document of sonde'}.`, hint: 'The page opens what `sonde audit run --json` and `sonde audit compare --json` print.' }));
    const p = a.provenance;
    if (p) body.append(h('footer.provenance', h('p', h('span', p.tool), h('span', day(p.created)), h('span', `${p.cpu}, ${p.isa}, ${p.mode} mode`), h('span', `seed ${p.seed}`), p.model_sha256 ? h('code', { title: p.model_sha256 }, short(p.model_sha256)) : null)));
  }
  function drawTools() { fill(tools, copies(again, () => docs)); }
  async function take(files) {
    try {
      docs = (await Promise.all(files.slice(0, 2).map(async (f) => {
        if (f.size > 64e6) throw new Error(`${f.name} has ${Math.round(f.size / 1e6)} MB; the page opens up to 64.`);
        try {
          return JSON.parse(await f.text());
        } catch {
          throw Object.assign(new Error(`${f.name} is no JSON.`), { hint: 'Give --json to the command that makes it.' });
        }
      })));
      route.keep({ with: '', change: '', axis: '', category: '' });
      draw({});
    } catch (e) {
      fill(body, problem(e), h('section.card', drop));
    }
  }
  const el = h('div.view.audit', h('header.view-head', h('div.view-title', h('h1', 'Audit'), h('p.lead', 'What a change did to a model’s behaviour: evidence, with its limits, and no certificate.')), tools), body);
  el.addEventListener('dragover', (e) => { e.preventDefault(); el.classList.add('over'); });
  el.addEventListener('dragleave', () => el.classList.remove('over'));
  el.addEventListener('drop', (e) => { e.preventDefault(); el.classList.remove('over'); if (e.dataTransfer.files.length) take([...e.dataTransfer.files]); });
  if (name) {
    docs = [await api.audit(name)];
    draw(query);
  } else { start(); drawTools(); }
  return {
    title: 'Audit', el,
    async update(now) {
      if (now.parts[1] !== name || !many()) return false;
      place(now.query);
      return true;
    },
    keys: { j: () => step(1), k: () => step(-1) },
    leave: () => leave(),
  };
}
