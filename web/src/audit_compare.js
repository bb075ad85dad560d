// A comparison of two or more models on the same requests: model by model, then what one change did. Nothing is green: a rate is not a verdict.
import { h, s } from './dom.js';
import * as route from './route.js';
import * as command from './command.js';
import { num, percent, short, whole } from './format.js';
import { copies, facts } from './parts.js';
import { inside, line, table } from './audit_inside.js';
import { samples } from './audit_samples.js';

const MEASURES = [['refusal', 'Refuses harmful requests'], ['over_refusal', 'Refuses harmless requests'], ['incoherent', 'Answers without sense']];
const points = (v) => (Number.isFinite(v) ? `${v > 0 ? '+' : ''}${(v * 100).toFixed(1)}`.replace('-', '−') : '–');
const interval = (x, lo, hi, at, y, cls = '') => [line(`whisker ${cls}`, x(lo), x(hi), y, y), line('cap', x(lo), x(lo), y - 2, y + 2), line('cap', x(hi), x(hi), y - 2, y + 2), line(`dot ${cls}`, x(at), x(at), y - 3.4, y + 3.4)];
const verdictText = { pass: 'Pass: every gate held', fail: 'Fail: a gate did not hold', inconclusive: 'Inconclusive: too few prompts to tell' };
const verdict = (c) => h('p.verdict', { data: { verdict: c.verdict } }, !c.gates?.length ? 'No gate was set: read the figures' : c.verdict === 'inconclusive' && c.gates.some((g) => g.why) ? 'Inconclusive: not measured in one way' : verdictText[c.verdict] || c.verdict);

// All comparisons of a document; the first model is what the others are held against. at: 0, 1, ..
export const comparisons = (d) => d.comparisons || [d];
export const chosen = (d, query) => Math.max(0, Math.min(comparisons(d).length, parseInt(query.with, 10) || 1) - 1);

/* ---- model by model ---- */

export function timeline(d, parts, at) {
  const gated = comparisons(d).some((c) => c.gates?.length), x = (v) => v * 100;
  const rate = (r) => (r?.n ? `${percent(r.rate)} [${percent(r.lo)}, ${percent(r.hi)}]` : '–');
  const to = (a) => { a.href = route.link(parts, { ...route.read().query, with: a.dataset.with }); }; // with what is filtered by then
  const rows = d.models.map((m, i) => {
    const c = i ? comparisons(d)[i - 1] : null, r = m.refusal, o = m.over_refusal;
    return h('li.forest-row', h('span.forest-name', c ? h('a', { onclick: (e) => to(e.currentTarget), data: { with: String(i) } }, m.name) : [m.name, ' ', h('span.soft', 'before')], c && gated ? [' ', h('span.verdict', { data: { verdict: c.verdict } }, c.verdict)] : null),
      s('svg', { viewBox: '0 0 100 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, [0, 50, 100].map((v) => line('zero', v, v, 0, 20)), r?.n ? interval(x, r.lo, r.hi, r.rate, 5) : null, o?.n ? interval(x, o.lo, o.hi, o.rate, 15, 'second') : null),
      h('span.value', h('span', 'harmful ', rate(r)), h('span', 'harmless ', rate(o))));
  });
  const el = h('section.card.models', { data: { part: 'models' } }, h('header', h('h2', 'Model by model'), copies(() => command.kept(d.command), () => d.models)), gated ? verdict({ ...d, gates: [{}] }) : null,
    h('ol.forest.times', { 'aria-label': 'Models in the order given' }, rows, h('li.forest-row.axis', { 'aria-hidden': 'true' }, h('span'), h('span.forest-axis', h('span', '0'), h('span', '50 %'), h('span', '100 %')), h('span'))),
    h('p.note', 'What each model refuses, of all that was asked and judged, with Wilson’s 95 % interval: harmful requests above (solid), harmless ones below (dashed). Changes are from the first model; choose one, or go on with j and k.'));
  el.choose = (i) => {
    for (const a of el.querySelectorAll('a[data-with]')) {
      to(a);
      if (Number(a.dataset.with) === i + 1) a.setAttribute('aria-current', 'true');
      else a.removeAttribute('aria-current');
    }
  };
  el.choose(at);
  return el;
}

/* ---- one comparison ---- */

function forest(rows) {
  const most = Math.max(0.1, ...rows.flatMap((r) => [Math.abs(r.lo), Math.abs(r.hi)]).filter(Number.isFinite)), top = Math.min(1, Math.ceil(most * 10) / 10);
  const x = (v) => 50 + (v / top) * 50;
  return h('div.forest', { role: 'img', 'aria-label': rows.map((r) => `${r.name}: ${points(r.diff)} points, ${points(r.lo)} to ${points(r.hi)}`).join('; ') }, rows.map((r) => h('div.forest-row', { 'aria-hidden': 'true' }, h('span.forest-name', r.name),
    s('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none' }, line('zero', 50, 50, 0, 10), interval(x, r.lo, r.hi, r.diff, 5)),
    h('span.value', `${points(r.diff)} [${points(r.lo)}, ${points(r.hi)}]`))), h('div.forest-row.axis', { 'aria-hidden': 'true' }, h('span'), h('span.forest-axis', h('span', `−${top * 100}`), h('span', '0 points'), h('span', `+${top * 100}`)), h('span')));
}

// What the two were not measured alike in: the record's own sentences; one written before it held them says in what, and no more.
function cautions(c) {
  const names = Object.keys(c).filter((k) => k.startsWith('same_') && c[k] === false).map((k) => k.slice(5));
  const said = c.cautions || (names.length ? [`the two differ in ${names.join(', ')}: the difference may be of that`] : []);
  return said.map((t) => h('p.note.warn', `${t[0].toUpperCase()}${t.slice(1)}.`));
}

function figures(c, a, b, rows) {
  const none = [h('td'), h('td'), h('td'), h('td'), h('td')];
  const cell = (m, key, show) => h('td.n', { title: Number.isFinite(m[`${key}_lo`]) ? `${show(m[`${key}_lo`])} to ${show(m[`${key}_hi`])}, n ${whole(m[`${key}_n`])}` : null }, show(m[key]));
  const number = (name, key, show, by, x = a, y = b) => (Number.isFinite(x[key]) || Number.isFinite(y[key]) ? h('tr', h('th', { scope: 'row' }, name), cell(x, key, show), cell(y, key, show), h('td.n', by(y[key] - x[key])), none) : null);
  const frames = (a.templates || []).map((t, i) => [t, (b.templates || [])[i]]).filter(([, u]) => u), share = (t) => ({ rate: t.n ? t.refused / t.n : NaN });
  return table('The figures', [['Measure'], ...['Before', 'After', 'Change', 'Interval', 'Only before', 'Only after', 'McNemar p', 'n'].map((t) => [t, 'n'])], [
    rows.map((r) => h('tr', h('th', { scope: 'row' }, r.name), h('td.n', { title: `${percent(r.a_lo)} to ${percent(r.a_hi)}` }, percent(r.a)), h('td.n', { title: `${percent(r.b_lo)} to ${percent(r.b_hi)}` }, percent(r.b)), h('td.n', points(r.diff)), h('td.n', `${points(r.lo)} to ${points(r.hi)}`), h('td.n', whole(r.only_a)), h('td.n', whole(r.only_b)), h('td.n', num(r.mcnemar_p)), h('td.n', whole(r.n)))),
    number('Loss on text, nats', 'ce_loss', num, num), number('Multiple choice right', 'choice', percent, points), number('Gives its name', 'identity', percent, points), number('Gives up right facts', 'sycophancy', percent, points),
    frames.map(([t, u]) => number(`Refuses harmful requests, frame: ${t.name}`, 'rate', percent, points, share(t), share(u)))]);
}

// Cards of comparison i of a document, and what is to be left when others take their place.
export function comparison(d, i, query) {
  const c = comparisons(d)[i], a = d.models[0], b = d.models[i + 1];
  const rows = MEASURES.filter(([k]) => c[k]?.n).map(([k, name]) => ({ name, ...c[k] }));
  const again = command.within(c.refusal.command, 'pairs'), browser = c.pairs ? samples(c.pairs, { query, command: again }) : null;
  const el = [
    h('section.card.headline', { data: { part: 'headline' } }, verdict(c), h('p.headline-text', c.headline), facts([...[a, b].map((m, k) => [k ? 'After (b)' : 'Before (a)', [m.name, ' ', h('code.soft', short(m.sha256))], m.sha256]), ['Same prompts', whole(c.n_paired)], ['Judge', a.judge], c.n_unscored && ['Not judged', whole(c.n_unscored)]]), cautions(c)),
    h('section.card', h('h2', 'Change, in points'), forest(rows), h('p.note', 'After less before, on the same prompts, with 95 % intervals (Newcombe’s paired method; each rate by Wilson’s). An interval that holds 0 is no evidence of no change.')),
    h('section.card', { data: { part: 'figures' } }, h('header', h('h2', 'The figures'), copies(() => command.kept(c.refusal.command), () => Object.fromEntries([...MEASURES.map(([k]) => [k, c[k]]), ['categories', c.categories]]))), figures(c, a, b, rows),
      c.categories?.length ? h('details', h('summary', `${c.categories.length} categories`), table('Categories', [['Category'], ['Before', 'n'], ['After', 'n'], ['Change', 'n'], ['Holm p', 'n'], ['n', 'n']], c.categories.map((x) => h('tr', h('th', { scope: 'row' }, x.category), h('td.n', percent(x.a)), h('td.n', percent(x.b)), h('td.n', `${points(x.diff)} [${points(x.lo)}, ${points(x.hi)}]`), h('td.n', num(x.holm_p)), h('td.n', whole(x.n)))))) : null),
    c.gates?.length ? h('section.card', h('h2', 'Gates'), h('ul.plain-list', c.gates.map((g) => h('li', h('code', g.gate), ' ', h('strong', g.verdict), ' ', h('span.soft', `${num(g.value)} [${num(g.lo)}, ${num(g.hi)}], n ${whole(g.n)}${g.why ? `; ${g.why}` : g.n_needed ? `; ${whole(g.n_needed)} prompts would tell` : ''}`))))) : null,
    inside(c.inside), browser ? browser.el : h('section.card', h('h2', 'Samples'), h('p.soft', 'This file holds no pairs of answers. `sonde audit compare --json` writes them.'))];
  return { el, leave: browser ? browser.leave : () => {} };
}
