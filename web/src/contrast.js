// Contrast: explain over cases. Texts on which something happens and texts on which it does not: the features that tell them apart beside what chance
// gives, and whether they cause it: they are taken out, and as many others, and the answers are counted again.
import { h, fill } from './dom.js';
import * as api from './api.js';
import * as command from './command.js';
import * as route from './route.js';
import { called, num, percent, whole } from './format.js';
import { copies, empty, featureLink, field, problem, select, skeleton } from './parts.js';

const AT_ONCE = 4, TOKENS = 40, MAX_URL = 6000;
// In how many ways texts can be shared out in two sets of these sizes, of which none differs from another by sign alone.
const splits = (a, b) => { let n = a === b ? 0.5 : 1; for (let i = 1; i <= Math.min(a, b); i++) n *= (a + b + 1 - i) / i; return n; };
const lines = (text) => text.split('\n').map((x) => x.trim()).filter(Boolean);

export async function show({ config, query }) {
  const title = h('div.view-title', h('h1', 'Contrast'), h('p.lead', 'Which features tell these texts from those, and do they cause the difference?'));
  if (!config.name || !config.dicts.length) {
    return { title: 'Contrast', el: h('div.view', h('header.view-head', title), empty('This needs a model and a dictionary.', api.isStatic ? 'This is a folder of results: running texts needs sonde serve.' : h('pre.command', command.serve(config)))) };
  }
  const state = { a: '', b: '', chat: '', dict: config.dicts[0].name, words: '', ...query };
  let found = null, counted = null, abort = null, asked = null; // asked: what found is the answer to, whatever the fields say by now
  const store = () => config.dicts.find((d) => d.name === (asked ?? state).dict)?.store;
  const save = () => {
    const short = state.a.length + state.b.length < MAX_URL;
    route.keep({ a: short ? state.a : '', b: short ? state.b : '', chat: state.chat, dict: state.dict === config.dicts[0].name ? '' : state.dict, words: state.words });
  };
  const box = h('section.card'), causes = h('section.card'), status = h('p.count', { 'aria-live': 'polite' }, '\u00a0');

  function drawFound() {
    if (!found) return fill(box, h('h2', 'Features'), h('p.soft', 'Two texts a side at least; a line each. The more, the smaller the differences that can be told from chance.'));
    const rows = found.features;
    fill(box, h('header', h('h2', 'Features'), h('span.soft', `${whole(found.n_above)} of ${whole(found.n_features)} above the floor of ${percent(found.floor)}`)),
      rows.length ? h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Features that differ' }, h('table.plain.found', h('thead', h('tr', ['Feature', 'Responds to', 'in A', 'in B', 'Difference', 'p'].map((x, i) => h(i > 1 ? 'th.n' : i ? 'th.wide' : 'th', { scope: 'col' }, x)))),
        h('tbody', rows.map((f, i) => h('tr', { class: i < found.n_above ? null : 'dim' }, h('th', { scope: 'row' }, store() ? h('a', { href: featureLink(store(), f.index) }, String(f.index)) : String(f.index), h('span.narrow', called(f.label, '–'))), h('td.wide', called(f.label, '–')),
          h('td.n', percent(f.share_a)), h('td.n', percent(f.share_b)), h('td.n', h('strong', { class: i < found.n_above ? null : 'soft' }, `${f.difference > 0 ? '+' : '−'}${percent(Math.abs(f.difference))}`)), h('td.n', num(f.p))))))) : h('p.soft', 'No feature is active in these texts.'),
      h('p.note', `Shares of the ${whole(found.n_a)} and ${whole(found.n_b)} texts in which a feature is active anywhere. Floor: what the largest difference of any feature reaches in 1 of 20 shufflings of the two sets; p counts shufflings, for all features together. Grey: below it.${splits(found.n_a, found.n_b) < 20 ? ' So few texts can be shared out in so few ways that nothing can be above it: take four a side at least.' : ''}`));
  }

  function drawCauses() {
    const held = found?.held_back?.length ? ` Not taken out, because ${found.held_back.length > 1 ? 'they lie' : 'it lies'} along a refusal direction: ${found.held_back.join(', ')}.` : '';
    if (!found || !found.n_above || !found.cut.length) return fill(causes, h('h2', 'Causes'), h('p.soft', found ? `${found.n_above ? 'No feature may be taken out.' : 'No feature is above the floor: there is nothing to take out.'}${held}` : 'Features above the floor can be taken out while the texts are answered.'));
    const names = ['as it is', `features ${found.cut.join(', ')} out`, `others out (${found.others.join(', ')})`];
    fill(causes, h('header', h('h2', 'Causes'), h('span.soft', 'answers that hold a word, counted')), h('form.text-tools', { onsubmit: (e) => { e.preventDefault(); count(); } },
      field('Words, with commas', words), counter),
    counted ? h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Answers that hold a word' }, h('table.plain', h('thead', h('tr', ['', 'A', 'B'].map((x) => h(x ? 'th.n' : 'th', { scope: 'col' }, x)))), h('tbody', counted.hits.map((v, i) => h('tr', h('th', { scope: 'row' }, names[i]), v.map((k, side) => h('td.n', `${k} of ${counted.n[side]}`)))))), h('p.note', `Counted: answers with ${counted.words.map((w) => `“${w}”`).join(' or ')}.`)) : null,
    h('p.note', `Greedy answers of ${TOKENS} tokens at most. The others are active in as many texts and tell nothing apart: what taking them out changes is not the features’ doing.${held}`));
  }
  const words = h('input', { value: state.words, placeholder: 'sorry, cannot', spellcheck: 'false' });
  words.addEventListener('input', () => { state.words = words.value; });
  const counter = h('button.primary', { type: 'submit' });
  const progress = (text) => { counter.disabled = Boolean(text); fill(counter, text || 'Take them out and count'); };
  progress();

  async function run() {
    state.a = areaA.value; state.b = areaB.value;
    save();
    abort?.abort();
    abort = new AbortController();
    found = counted = asked = null;
    progress();
    const mine = abort, now = { a: lines(state.a), b: lines(state.b), dict: state.dict, chat: Boolean(state.chat) };
    if (now.a.length < 2 || now.b.length < 2) {
      fill(status, 'Two texts a side at least.');
      drawFound();
      return drawCauses();
    }
    fill(box, h('h2', 'Features'), skeleton(8));
    fill(status, 'Reading …');
    drawCauses();
    try {
      found = await api.contrast(now, mine.signal);
      asked = now;
      fill(status, `${whole(found.n_a + found.n_b)} texts read`);
      drawFound();
      drawCauses();
    } catch (e) {
      if (e.name === 'AbortError') return;
      fill(status, '\u00a0');
      fill(box, h('h2', 'Features'), problem(e, run));
    }
  }

  async function count() {
    const wanted = state.words.split(',').map((x) => x.trim().toLowerCase()).filter(Boolean), texts = [asked.a, asked.b];
    if (!wanted.length) return words.focus();
    save();
    abort?.abort();
    const mine = (abort = new AbortController()), jobs = [], hits = [[0, 0], [0, 0], [0, 0]];
    const out = (list) => list.map((index) => ({ feature: { dict: asked.dict, index }, op: 'clamp', value: 0, unit: 'raw' }));
    const steers = [null, out(found.cut), out(found.others)];
    texts.forEach((list, side) => list.forEach((t) => steers.forEach((s, way) => jobs.push({ t, side, s, way }))));
    const all = jobs.length;
    let done = 0;
    async function work() {
      for (let j = jobs.shift(); j; j = jobs.shift()) {
        const text = await api.answer({ text: j.t, chat: asked.chat, steer: j.s, max_tokens: TOKENS }, mine.signal);
        if (mine.signal.aborted) return;
        if (wanted.some((x) => text.toLowerCase().includes(x))) hits[j.way][j.side]++;
        progress(`${++done} of ${all}`);
      }
    }
    progress(`0 of ${all}`);
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      if (mine.signal.aborted) return;
      counted = { words: wanted, hits, n: texts.map((x) => x.length) };
      progress();
      drawCauses();
    } catch (e) {
      if (e.name === 'AbortError') return;
      mine.abort(); // the others have nothing to count for
      progress();
      drawCauses();
      causes.append(problem(e, count));
    }
  }

  const areaA = h('textarea', { rows: 8, spellcheck: 'false', value: state.a, placeholder: 'one text a line', 'data-search': true }), areaB = h('textarea', { rows: 8, spellcheck: 'false', value: state.b, placeholder: 'one text a line' });
  const chat = h('input', { type: 'checkbox', checked: Boolean(state.chat), onchange: () => { state.chat = chat.checked ? '1' : ''; } });
  const el = h('div.view.contrast', h('header.view-head', title, h('div.view-tools', copies(() => command.contrast(config, store(), state.words, (asked ?? state).dict, (asked ?? state).chat), () => ({ asked, found, counted })))),
    h('section.card', h('div.contrast-sets', field('A: it happens', areaA), field('B: it does not', areaB)),
      h('div.text-tools', h('button.primary', { type: 'button', onclick: run }, 'Compare'), h('label.check', chat, 'as messages in a chat'),
        config.dicts.length > 1 ? select(config.dicts.map((d) => [d.name, d.name]), state.dict, (v) => { state.dict = v; }, { 'aria-label': 'Dictionary' }) : null, status)),
    box, causes);
  drawFound();
  drawCauses();
  return { title: 'Contrast', el, shown() { if (lines(state.a).length > 1 && lines(state.b).length > 1) run(); }, keys: { run }, leave() { abort?.abort(); } };
}
