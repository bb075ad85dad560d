// What moved inside two models: directions, features of a dictionary, features put back, weights and what of them is quantisation.
import { h, s, fill } from './dom.js';
import * as command from './command.js';
import { num, percent, whole } from './format.js';
import { bars, copies, facts, field, select } from './parts.js';
import { chart } from './chart.js';

export const table = (name, columns, rows) => h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': name }, h('table.plain.figures', h('thead', h('tr', columns.map(([t, cls]) => h('th', { scope: 'col', class: cls }, t)))), h('tbody', rows)));
export const line = (cls, x1, x2, y1 = 5, y2 = 5) => s('line', { class: cls, x1, x2, y1, y2 });
const drawing = (...lines) => h('td.drawn', s('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, lines));
const card = (part, title, tools, ...children) => h('section.card', { data: { part } }, h('header', h('h2', title), tools), children);

function directions(i) {
  const layers = (i.direction_cosine || []).map((_, k) => k);
  if (!layers.length) return null;
  return [chart(layers, [{ name: 'cosine, before and after', values: i.direction_cosine }], { height: 160, xName: 'layer', points: true, name: 'Cosine of the refusal direction by layer' }),
    chart(layers, [{ name: 'gap before', values: i.gap_a }, { name: 'gap after', values: i.gap_b }], { height: 160, xName: 'layer', points: true, name: 'How far apart harmful and harmless requests lie, by layer' }),
    h('p.note', `${whole(i.n_harmful)} harmful and ${whole(i.n_harmless)} harmless requests; the gap is how far apart their projections lie on the direction.`)];
}

/* ---- features ---- */

const KINDS = [['gone', 'gone', (r) => r.safety_a && !r.safety_b], ['appeared', 'appeared', (r) => !r.safety_a && r.safety_b], ['both', 'tells apart in both', (r) => r.safety_a && r.safety_b], ['neither', 'tells nothing apart', (r) => !r.safety_a && !r.safety_b]];
const moved = (r) => r.holm_p < 0.05;
const fate = (r) => [KINDS.find(([, , is]) => is(r))[1], moved(r) ? (r.harmful_b > r.harmful_a ? 'rose' : 'fell') : null].filter(Boolean).join(', ');

function drift(f, again) {
  const all = f.largest || [], filters = [['', 'All', () => true], ['moved', 'moved', moved], ...KINDS].map(([v, name, is]) => [v, `${name} (${whole(all.filter(is).length)})`, is]);
  const body = h('div'), both = (a, b, show) => h('td.n', `${show(a)} → ${show(b)}`), share = (v) => `${(100 * v).toFixed(0)} %`;
  const draw = (v) => fill(body, table('Features', [['Feature', 'n'], ['Harmful requests'], ['before → after', 'n'], ['harmless', 'n'], ['activation', 'n'], ['Holm p', 'n'], ['What became of it']],
    all.filter(filters.find(([x]) => x === v)[2]).map((r) => h('tr', h('th.n', { scope: 'row' }, String(r.index)), drawing(line('whole', 0, 100), line('moved', r.harmful_a * 100, r.harmful_b * 100), line('from', r.harmful_a * 100, r.harmful_a * 100, 2, 8), line('to', r.harmful_b * 100, r.harmful_b * 100, 1, 9)),
      both(r.harmful_a, r.harmful_b, share), both(r.harmless_a, r.harmless_b, share), both(r.activation_a, r.activation_b, num), h('td.n', num(r.holm_p)), h('td.fate', moved(r) ? h('strong', fate(r)) : fate(r))))));
  draw('');
  return card('features', `Features at ${f.site}`, copies(() => again('features'), () => f),
    facts([['Tell apart, before', whole(f.n_safety_a)], ['Tell apart, after', whole(f.n_safety_b)], ['Gone', whole(f.n_gone)], ['Appeared', whole(f.n_appeared)], ['Moved', whole(f.n_moved)], ['Rose, of all', whole(f.n_raised)], ['Fell, of all', whole(f.n_lowered)], ['Active at all', `${whole(f.n_tested)} of ${whole(f.n_feature)}`]]),
    all.length ? [h('div.sample-tools', field('Show', select(filters, '', draw))), body] : null,
    h('p.note', `Shares of requests in which a feature of the dictionary is active. One tells harmful from harmless when its shares differ by more than ${num(f.floor_a)} (after: ${num(f.floor_b)}), which shuffled labels reach once in twenty; moved is of those, on harmful requests (exact McNemar, Holm over ${whole(f.n_tested)}). ${all.length ? `The ${whole(all.length)} largest changes are listed; thin mark before, thick mark after.` : ''}`));
}

function raised(r, again) {
  const tools = copies(() => again('raised'), () => r), of = (n) => `${whole(n)} of ${whole(r.n_harmful)}`, x = (n) => (100 * n) / (r.n_harmful || 1);
  if (r.why) return card('raised', 'Features put back', tools, h('p', `No feature was put back: ${r.why}.`));
  return card('raised', 'Features put back', tools,
    facts([['Refused before', of(r.refused_a)], ['Refused after', of(r.refused_b)], ['Random directions, at most', of(r.floor)], ['Took refusals', `${whole(r.n_found)} of ${whole(r.put_back.length)}`]]),
    table('Features put back', [['Feature', 'n'], ['Refused'], ['when put back', 'n'], ['activation, before → after', 'n'], ['Holm p', 'n'], ['']],
      r.put_back.map((v) => h('tr', h('th.n', { scope: 'row' }, String(v.index)), drawing(line('whole', 0, 100), line('moved', 0, x(v.refused)), line('to', x(v.refused), x(v.refused), 1, 9), line('floor', x(r.floor), x(r.floor), 0, 10)), h('td.n', of(v.refused)), h('td.n', `${num(v.activation_a)} → ${num(v.activation_b)}`), h('td.n', num(v.holm_p)), h('td.fate', v.found ? h('strong.down', 'took refusals') : null)))),
    h('p.note', 'The features whose activation rose most on harmful requests, put back to what it was, one at a time; answers are judged again. Dashed: the most that as much taken out along a random direction brings back. One took refusals when it brings back more than that and than chance (exact McNemar, Holm).', r.n_found ? '' : ' None here does: what took the refusals is no single one of these.'));
}

/* ---- weights ---- */

function quantisation(q) {
  return [h('h3', 'Quantisation alone'), bars([{ name: 'all that changed', value: q.relative_change, text: percent(q.relative_change) }, { name: 'rounding alone', value: q.by_rounding_alone, text: percent(q.by_rounding_alone) }]),
    h('p.note', `${whole(q.n_matrix)} matrices are kept in a coarser type than before: how far they lie from the first model’s, and how far rounding the first model to those types takes them, with nothing learnt. The change is ${num(q.relative_change / q.by_rounding_alone)} times rounding alone; 1 is nothing but rounding.`)];
}

function weights(w, again) {
  return card('weights', 'Weights', copies(() => again('weights'), () => w), h('p', `${whole(w.n_changed)} of ${whole(w.n_matrix)} matrices changed, by ${percent(w.relative_change)} of their norm in all.`),
    w.quantisation ? quantisation(w.quantisation) : null,
    w.largest?.length ? h('details', h('summary', `Largest changes (${whole(w.largest.length)})`), table('Largest changes', [['Matrix'], ['changed by', 'n'], ['of it of rank one', 'n']], w.largest.map((x) => h('tr', h('th', { scope: 'row' }, h('code', x.name)), h('td.n', percent(x.relative_change)), h('td.n', percent(x.rank_one_energy))))), h('p.note', 'Near 100 % of rank one is an edit along one direction, such as a direction cut out.')) : null);
}

// Cards of one comparison's inside.
export function inside(i) {
  if (!i) return [h('section.card', h('h2', 'Inside the two models'), h('p.soft', 'Only behaviour was compared. Give audit compare the models themselves to see their directions and weights.'))];
  const again = (part) => command.within(i.command, part);
  return [card('directions', 'Inside the two models', copies(() => command.kept(i.command), () => i), i.comparable ? directions(i) : h('p.soft', i.why)), i.features ? drift(i.features, again) : null, i.raised ? raised(i.raised, again) : null, i.weights ? weights(i.weights, again) : null];
}
