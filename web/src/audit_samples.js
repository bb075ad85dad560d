// Which answers changed: one row a request, by id, class and length; never what was asked or answered. Ids of harmful requests stay blurred until asked for.
import { h, fill } from './dom.js';
import * as route from './route.js';
import { num, whole } from './format.js';
import { copies, facts, field, segmented, select } from './parts.js';
import { VirtualList } from './virtual.js';

// Rows of a comparison are its pairs; of records, the replies of the first and what the second has of the same requests.
export function pairsOf(a, b) {
  const name = (r) => JSON.stringify([r.suite, r.id, r.prompt]);
  const other = b ? new Map(b.replies.map((r) => [name(r), r])) : null;
  return a.replies.map((r) => ({ suite: r.suite, id: r.id, axis: r.axis, category: r.category, prompt: r.prompt, score: r.score, a: r, b: other?.get(name(r)) }));
}

const flipped = (r) => r.b && r.a.class !== r.b.class;
const move = (r) => (r.b ? `${r.a.class}-${r.b.class}` : r.a.class);
const moveName = (r) => (r.b ? `${r.a.class} → ${r.b.class}` : r.a.class);
const count = (rows, name) => [...rows.reduce((m, r) => m.set(name(r), (m.get(name(r)) || 0) + 1), new Map())].sort((x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1));

// What can be asked for, with how many there are of it.
function choices(rows, paired) {
  const names = new Map(rows.map((r) => [move(r), moveName(r)])), changed = rows.filter(flipped);
  const moves = count(paired ? changed : rows, move).map(([v, n]) => [v, `${names.get(v)} (${whole(n)})`]);
  return [['all', `All (${whole(rows.length)})`], ...(paired ? [['changed', `Changed (${whole(changed.length)})`], ['same', `Unchanged (${whole(rows.filter((r) => suits(r, 'same')).length)})`]] : []), ...moves];
}

const suits = (r, how) => how === 'all' || (how === 'changed' ? flipped(r) : how === 'same' ? r.b && !flipped(r) : move(r) === how);

// rows: pairs, or replies without a second side; query: the address; command: what gives them, or nothing.
export function samples(rows, { query = {}, command } = {}) {
  const paired = rows.some((r) => r.b), options = choices(rows, paired), seen = new Set();
  const known = (v, list, otherwise) => (list.some(([x]) => x === v) ? v : otherwise);
  const categories = [['', 'All'], ...count(rows.filter((r) => r.category), (r) => r.category).map(([c, n]) => [c, `${c} (${whole(n)})`])];
  const axes = [['', 'All'], ['harmful', 'Harmful'], ['harmless', 'Harmless']];
  const state = { change: known(query.change, options, rows.some(flipped) ? 'changed' : 'all'), axis: known(query.axis, axes, ''), category: known(query.category, categories, '') };
  let shown = [];
  const total = h('p.count', { role: 'status' }), detail = h('div.sample-detail', { 'aria-live': 'polite' });
  const cell = (cls, text) => h('span', { class: cls, role: 'gridcell' }, text);
  const request = (r, tabindex) => {
    if (r.axis !== 'harmful') return h('code', `${r.suite}/${r.id}`);
    const b = h('button', { type: 'button', class: seen.has(r) ? 'blurred clear' : 'blurred', title: 'Show the id', tabindex, onclick: (e) => { if (e.detail < 2) reveal(r); } }, h('span', `${r.suite}/${r.id}`));
    b.of = r;
    return b;
  };
  // The id stands in its row and, whole, below the list.
  function reveal(r) {
    if (seen.has(r)) seen.delete(r);
    else seen.add(r);
    for (const b of el.querySelectorAll('.blurred')) if (b.of === r) b.classList.toggle('clear', seen.has(r));
  }
  const same = (r) => r.a.answer === r.b.answer;
  const length = (r) => (!r.b ? whole(r.a.n_tokens) : `${whole(r.a.n_tokens)} → ${whole(r.b.n_tokens)}`);
  function tell(r) {
    fill(detail, facts([['Request', request(r)], ['Axis', r.axis], ['Category', r.category || '–'], [r.b ? 'Before' : 'Class', `${r.a.class}, ${whole(r.a.n_tokens)} tokens`], r.b && ['After', `${r.b.class}, ${whole(r.b.n_tokens)} tokens`],
      r.b && ['Answers', same(r) ? 'the same bytes' : 'other bytes'], ['Hash of the request', h('code', r.prompt)], ['Hash of the answer', h('code', r.b && !same(r) ? `${r.a.answer} → ${r.b.answer}` : r.a.answer)]]));
  }
  const list = new VirtualList({
    height: 40, label: 'Samples', columns: [['Request', 'c-label'], ['Category', 'c-cat'], ...(paired ? [['Before', 'c-cls'], ['After', 'c-cls']] : [['Class', 'c-cls']]), ['Tokens', 'c-max'], ...(paired ? [] : [['Score', 'c-max']])],
    row: (r) => [h('span.c-label', { role: 'gridcell' }, request(r, '-1')), cell('c-cat', r.category || '–'), cell('c-cls', r.a.class), ...(paired ? [cell(flipped(r) ? 'c-cls flip' : 'c-cls', r.b?.class ?? '–')] : []), cell('c-max', length(r)), ...(paired ? [] : [cell('c-max', num(r.score))])],
    blank: () => [], onchoose: tell, onopen: (r) => { if (r.axis === 'harmful') reveal(r); },
  });
  list.el.classList.add('samples', paired ? 'paired' : 'single');
  function draw() {
    shown = rows.filter((r) => suits(r, state.change) && (!state.axis || r.axis === state.axis) && (!state.category || r.category === state.category));
    fill(total, `${whole(shown.length)} of ${whole(rows.length)} requests`);
    fill(detail);
    list.ask(async (o, n) => ({ features: shown.slice(o, o + n), n_total: shown.length }));
  }
  const set = (key) => (v) => { state[key] = v; route.keep({ [key]: v }); draw(); };
  draw();
  const bare = (r) => ({ suite: r.suite, id: r.id, axis: r.axis, category: r.category, prompt: r.prompt, a: side(r.a), b: r.b && side(r.b) }), side = (x) => ({ class: x.class, n_tokens: x.n_tokens, answer: x.answer });
  const el = h('section.card', { data: { part: 'samples' } }, h('header', h('h2', 'Samples'), copies(command && (() => command), () => shown.map(bare))),
    h('div.sample-tools', field(paired ? 'Class before and after' : 'Class', select(options, state.change, set('change'))), field('Category', select(categories, state.category, set('category'))), segmented('Axis', axes, state.axis, set('axis'))),
    total, list.el, detail, h('p.note', 'Classes, lengths and hashes are kept, never a request or an answer. Ids of harmful requests are blurred until you ask for one (a click, or Enter).'));
  return { el, leave: () => list.leave() };
}
