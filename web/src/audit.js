// Audit: a comparison of two models on the same prompts, or one model's record, out of the JSON of `sonde audit`. The file stays in this browser.
// Harmful requests are ids, and those stay blurred until they are asked for. Nothing is green: a rate is not a verdict.
import { h, s, fill } from './dom.js';
import * as api from './api.js';
import * as route from './route.js';
import * as command from './command.js';
import { num, percent, short, whole, day } from './format.js';
import { copies, empty, facts, problem, segmented } from './parts.js';
import { chart } from './chart.js';
import { VirtualList } from './virtual.js';

const MEASURES = [['refusal', 'Refuses harmful requests'], ['over_refusal', 'Refuses harmless requests'], ['incoherent', 'Answers without sense']];
const points = (v) => `${v > 0 ? '+' : ''}${(v * 100).toFixed(1)}`.replace('-', '−');
const z = 1.959964;

// Wilson 1927: an interval that has a width at 0 % and at 100 % too.
export function wilson(k, n) {
  if (!n) return { est: NaN, lo: NaN, hi: NaN };
  const p = k / n, mid = (p + (z * z) / (2 * n)) / (1 + (z * z) / n), half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { est: p, lo: Math.max(0, mid - half), hi: Math.min(1, mid + half) };
}

function forest(rows) {
  const most = Math.max(0.1, ...rows.flatMap((r) => [Math.abs(r.lo), Math.abs(r.hi)]).filter(Number.isFinite)), top = Math.min(1, Math.ceil(most * 10) / 10);
  const x = (v) => 50 + (v / top) * 50;
  return h('div.forest', { role: 'img', 'aria-label': rows.map((r) => `${r.name}: ${points(r.diff)} points, ${points(r.lo)} to ${points(r.hi)}`).join('; ') }, rows.map((r) => h('div.forest-row', { 'aria-hidden': 'true' }, h('span.forest-name', r.name),
    s('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none' }, s('line', { class: 'zero', x1: 50, x2: 50, y1: 0, y2: 10 }), s('line', { class: 'whisker', x1: x(r.lo), x2: x(r.hi), y1: 5, y2: 5 }), s('line', { class: 'cap', x1: x(r.lo), x2: x(r.lo), y1: 3, y2: 7 }), s('line', { class: 'cap', x1: x(r.hi), x2: x(r.hi), y1: 3, y2: 7 }), s('line', { class: 'dot', x1: x(r.diff), x2: x(r.diff), y1: 1.6, y2: 8.4 })),
    h('span.value', `${points(r.diff)} [${points(r.lo)}, ${points(r.hi)}]`))), h('div.forest-row.axis', { 'aria-hidden': 'true' }, h('span'), h('span.forest-axis', h('span', `−${top * 100}`), h('span', '0 points'), h('span', `+${top * 100}`)), h('span')));
}

const verdictText = { pass: 'Pass: every gate held', fail: 'Fail: a gate did not hold', inconclusive: 'Inconclusive: too few prompts to tell' };

function comparison(d) {
  const rows = MEASURES.filter(([k]) => d[k]).map(([k, name]) => ({ name, ...d[k] }));
  const [a, b] = d.models;
  const inside = d.inside || {};
  return [
    h('section.card.headline', h('p.verdict', { data: { verdict: d.verdict } }, d.gates?.length ? verdictText[d.verdict] || d.verdict : 'No gate was set: read the figures'), h('p.headline-text', d.headline),
      h('dl.facts', [a, b].map((m, i) => h('div', { title: m.sha256 }, h('dt', i ? 'After (b)' : 'Before (a)'), h('dd', m.name, ' ', h('code.soft', short(m.sha256))))), h('div', h('dt', 'Same prompts'), h('dd', whole(d.n_paired))), h('div', h('dt', 'Judge'), h('dd', a.judge)), d.n_unscored ? h('div', h('dt', 'Not judged'), h('dd', whole(d.n_unscored))) : null)),
    h('section.card', h('h2', 'Change, in points'), forest(rows), h('p.note', 'After less before, on the same prompts, with 95 % intervals (Newcombe’s paired method; each rate by Wilson’s). An interval that holds 0 is no evidence of no change.')),
    h('section.card', h('h2', 'The figures'), h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'The figures' }, h('table.plain', h('thead', h('tr', ['Measure', 'Before', 'After', 'Change', 'Interval', 'Only before', 'Only after', 'McNemar p', 'n'].map((t) => h('th', { scope: 'col' }, t)))),
      h('tbody', rows.map((r) => h('tr', h('th', { scope: 'row' }, r.name), h('td.n', { title: `${percent(r.a_lo)} to ${percent(r.a_hi)}` }, percent(r.a)), h('td.n', { title: `${percent(r.b_lo)} to ${percent(r.b_hi)}` }, percent(r.b)), h('td.n', points(r.diff)), h('td.n', `${points(r.lo)} to ${points(r.hi)}`), h('td.n', whole(r.only_a)), h('td.n', whole(r.only_b)), h('td.n', num(r.mcnemar_p)), h('td.n', whole(r.n)))),
        Number.isFinite(a.ce_loss) ? h('tr', h('th', { scope: 'row' }, 'Loss on text, nats'), h('td.n', num(a.ce_loss)), h('td.n', num(b.ce_loss)), h('td.n', num(b.ce_loss - a.ce_loss)), h('td'), h('td'), h('td'), h('td'), h('td')) : null))),
    d.categories?.length ? h('details', h('summary', `${d.categories.length} categories`), h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Categories' }, h('table.plain', h('tbody', d.categories.map((c) => h('tr', h('th', { scope: 'row' }, c.category ?? c.name), h('td.n', percent(c.a)), h('td.n', percent(c.b)), h('td.n', `${points(c.diff)} [${points(c.lo)}, ${points(c.hi)}]`), h('td.n', whole(c.n)))))))) : null),
    d.gates?.length ? h('section.card', h('h2', 'Gates'), h('ul.plain-list', d.gates.map((g) => h('li', h('code', g.gate), ' ', h('strong', g.verdict), ' ', h('span.soft', `${num(g.value)} [${num(g.lo)}, ${num(g.hi)}], n ${whole(g.n)}${g.n_needed ? `; ${whole(g.n_needed)} prompts would tell` : ''}`))))) : null,
    h('section.card', h('h2', 'Inside the two models'), inside.comparable ? insidePart(inside) : h('p.soft', inside.why || 'Records hold behaviour only. Give audit compare the models themselves to see their directions and weights.')),
  ];
}

function insidePart(i) {
  const layers = (i.direction_cosine || []).map((_, k) => k), w = i.weights;
  return h('div', layers.length ? [chart(layers, [{ name: 'cosine of the refusal direction, before and after', values: i.direction_cosine }], { height: 160, xName: 'layer', points: true, name: 'Cosine of the refusal direction by layer' }),
    chart(layers, [{ name: 'gap before', values: i.gap_a }, { name: 'gap after', values: i.gap_b }], { height: 160, xName: 'layer', points: true, name: 'How far apart harmful and harmless requests lie, by layer' }), h('p.note', `${whole(i.n_harmful)} harmful and ${whole(i.n_harmless)} harmless requests; the gap is how far apart their projections lie on the direction.`)] : null,
  w ? [h('h3', 'Weights'), h('p', `${whole(w.n_changed)} of ${whole(w.n_matrix)} matrices changed, by ${percent(w.relative_change)} in all.`), w.largest?.length ? h('ul.plain-list', w.largest.slice(0, 8).map((x) => h('li', h('code', x.name), ' ', h('span.soft', `${percent(x.relative_change)}, ${percent(x.rank_one_energy)} of it of rank one`)))) : null] : null);
}

// One record: rates with intervals. Two of them on the same prompts: which answers flipped.
function samples(a, b) {
  const id = (r) => `${r.suite}/${r.id}`;
  const other = b ? new Map(b.replies.map((r) => [id(r), r])) : null;
  const all = a.replies.map((r) => ({ ...r, key: id(r), after: other?.get(id(r)) }));
  let filter = b ? 'flipped' : 'all', shown = [];
  const count = h('p.count');
  const list = new VirtualList({
    height: 40, label: 'Samples', columns: [['Request', 'c-label'], ['Category', 'c-cat'], ['Before', 'c-cls'], ['After', 'c-cls'], ['Score', 'c-max']],
    row: (r) => [h('span.c-label', { role: 'gridcell' }, r.axis === 'harmful' ? h('button.blurred', { type: 'button', title: 'Show the id', tabindex: '-1', onclick: (e) => e.currentTarget.classList.toggle('clear') }, h('span', r.key)) : h('code', r.key)), h('span.c-cat', { role: 'gridcell' }, r.category || '–'), h('span.c-cls', { role: 'gridcell', class: r.after && r.after.class !== r.class ? 'c-cls flip' : 'c-cls' }, r.class), h('span.c-cls', { role: 'gridcell', class: r.after && r.after.class !== r.class ? 'c-cls flip' : 'c-cls' }, r.after?.class ?? '–'), h('span.c-max', { role: 'gridcell' }, r.score === null ? '–' : num(r.score))],
    blank: () => [], onchoose: () => {}, onopen: () => {},
  });
  list.el.classList.add('samples');
  const draw = () => {
    shown = all.filter((r) => filter === 'all' || (filter === 'flipped' && r.after && r.after.class !== r.class) || r.axis === filter);
    fill(count, `${whole(shown.length)} of ${whole(all.length)} requests`);
    list.ask(async (o, n) => ({ features: shown.slice(o, o + n), n_total: shown.length }));
  };
  draw();
  return h('section.card', h('header', h('h2', 'Samples'), segmented('Show', [...(b ? [['flipped', 'Flipped']] : []), ['all', 'All'], ['harmful', 'Harmful'], ['harmless', 'Harmless']], filter, (v) => { filter = v; draw(); })), count, list.el,
    h('p.note', 'Records keep class, length and hash of an answer, never the answer. Ids of harmful requests are blurred until you ask for one.'));
}

function record(a, b) {
  const axis = (r, which) => r.replies.filter((x) => x.axis === which && x.class !== 'unscored');
  const rows = [a, b].filter(Boolean).map((r) => ({ r, refusal: r.refusal, over: r.over_refusal, inc: r.incoherent }));
  const rate = (x) => (x && x.n ? `${percent(x.rate)} [${percent(x.lo)}, ${percent(x.hi)}], n ${whole(x.n)}` : 'none asked');
  return [h('section.card.headline', h('p.headline-text', b ? `${a.name} and ${b.name} on ${whole(a.replies.length)} requests` : `${a.name} on ${whole(a.replies.length)} requests`), facts([['Judge', a.judge], ['Mode', a.mode], ['Made', day(a.provenance?.created)], ['Harmful', whole(axis(a, 'harmful').length)], ['Harmless', whole(axis(a, 'harmless').length)]])),
    h('section.card', h('h2', 'Rates'), h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Rates' }, h('table.plain', h('thead', h('tr', ['Model', 'Refuses harmful', 'Refuses harmless', 'Without sense', 'Loss on text'].map((t) => h('th', { scope: 'col' }, t)))), h('tbody', rows.map(({ r, refusal, over, inc }) => h('tr', h('th', { scope: 'row' }, r.name), h('td', rate(refusal)), h('td', rate(over)), h('td', rate(inc)), h('td.n', num(r.utility?.ce_loss))))))), h('p.note', '95 % intervals by Wilson’s method.', b ? ' For a paired comparison with a verdict: sonde audit compare.' : '')),
    samples(a, b)];
}

export async function show({ config, parts }) {
  const name = parts[1];
  const { audits } = await api.audits();
  let docs = [];
  const body = h('div.audit-body'), tools = h('div.view-tools');
  const again = () => docs[0]?.provenance?.args ? docs[0].provenance.args.replace(/^\S+/, 'sonde') : 'sonde audit compare BEFORE AFTER --suite FILE --json';
  const drop = h('label.drop', h('input', { type: 'file', accept: '.json,application/json', multiple: true, onchange: (e) => take([...e.target.files]) }), h('span', 'Open audit JSON'), h('span.soft', ' or drop one or two files here'));
  const start = () => fill(body, h('section.card', drop, audits.length ? h('ul.plain-list', audits.map((x) => h('li', h('a', { href: route.link(['audit', x]) }, x)))) : h('p.soft', 'None is registered (serve --audit FILE). A file that you open stays in this browser.')),
    h('section.card', h('h2', 'How to make one'), h('ol.steps', h('li', h('p', 'Measure two models on the same requests'), h('pre.command', { tabindex: '0' }, `sonde audit compare before.gguf after.gguf --suite requests.csv --text text.txt --json > audit.json`)), h('li', h('p', 'Or keep one model’s record, to compare later'), h('pre.command', { tabindex: '0' }, `sonde audit run ${command.model(config)} --suite requests.csv -o record.json`)))));
  function draw() {
    const [a, b] = docs;
    fill(tools, h('button.small', { type: 'button', onclick: () => { docs = []; if (name) route.go(['audit']); else { start(); drawTools(); } } }, 'Another'), copies(again, () => (b ? docs : a)));
    if (a.schema === 'sonde.audit_compare/1') fill(body, comparison(a));
    else if (a.schema === 'sonde.audit_run/1') fill(body, record(a, b?.schema === a.schema ? b : null));
    else fill(body, problem({ message: `This is ${a.schema ? `a document of schema ${a.schema}` : 'no document of sonde'}.`, hint: 'The page opens what `sonde audit run --json` and `sonde audit compare --json` print.' }));
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
      draw();
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
    draw();
  } else { start(); drawTools(); }
  return { title: 'Audit', el };
}
