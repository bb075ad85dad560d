// Steer: the same prompt, the same chance, answered plain, steered, and by a prompt alone; what the steer cost, in figures. A chat goes on in each pane
// with that pane's own answers; a change of a steer says all of it again, so that an address shows the same conversation.
import { h, fill, debounce } from './dom.js';
import * as api from './api.js';
import * as command from './command.js';
import * as route from './route.js';
import { called, num, percent, tokenName, whole } from './format.js';
import { copies, empty, featureLink, field, problem, segmented, select, toast } from './parts.js';
import { changed } from './diff.js';
import { chart } from './chart.js';

const OPS = [['add', 'add'], ['clamp', 'clamp to'], ['scale', 'scale by'], ['ablate', 'ablate'], ['cap', 'cap at']];
const UNITS = [['rms', '× norm'], ['max_act', '× top act'], ['std', '× std'], ['raw', 'raw']]; // the line below a steer says each in the others
const RANGE = { rms: 2, max_act: 3, std: 8, raw: 200 };
const POSITIONS = [['all', 'everywhere'], ['prompt', 'in the prompt'], ['generated', 'in the answer'], ['last', 'at the last token']];
const LANES = { plain: 'Plain', steered: 'Steered', prompt: 'By prompt only' };
const SWEEP = [-1, -0.5, 0, 0.25, 0.5, 1, 1.5];

const fresh = (what) => ({ op: 'add', value: 0.5, unit: 'rms', ...what, on: true });
// What is sent: the fields that CONTRACT section 5 knows, and only those that matter to the op.
export function spec(s) {
  const o = {};
  for (const k of ['feature', 'direction', 'vector', 'site']) if (s[k] !== undefined) o[k] = s[k];
  o.op = s.op;
  if (s.op === 'cap') Object.assign(o, s.floor ? { min: s.value } : { max: s.value, ...(s.min === undefined ? {} : { min: s.min }) });
  else if (s.op !== 'ablate') o.value = s.value;
  if (s.op !== 'scale' && s.op !== 'ablate') o.unit = s.unit;
  if (s.positions && s.positions !== 'all') o.positions = s.positions;
  if (s.special) o.special = true;
  if (s.when) o.when = s.when;
  return o;
}

// What the slider moves: of a cap its upper bound, or the lower one where that is all there is.
const strength = (x) => (x.op === 'cap' ? x.max ?? x.min ?? x.value ?? 1 : x.value ?? 0.5);

function parseSteers(text) {
  try {
    const v = JSON.parse(text || '[]');
    return Array.isArray(v) ? v.filter((x) => x && typeof x === 'object').map((x) => ({ ...fresh({}), ...x, value: strength(x), floor: x.op === 'cap' && x.max === undefined && x.min !== undefined, on: x.on !== false })) : [];
  } catch {
    return [];
  }
}

function parseTexts(text) {
  try {
    const v = JSON.parse(text || '[]');
    return Array.isArray(v) ? v.filter((x) => typeof x === 'string' && x.trim()) : [];
  } catch {
    return [];
  }
}

export async function show({ config, query }) {
  if (!config.name) {
    return { title: 'Steer', el: h('div.view', h('header.view-head', h('div.view-title', h('h1', 'Steer'))), empty('No model is loaded.', 'Steering runs the model. Start the server with one:', h('pre.command', 'sonde serve MODEL --dict DIR --store FILE.db'))) };
  }
  const state = { p: 'Tell me about yourself.', base: '', n: '96', temp: '0.7', seed: '7', mode: 'chat', ...query };
  for (const [k, usual] of [['n', '96'], ['temp', '0.7'], ['seed', '7']]) state[k] = Number.isFinite(parseFloat(state[k])) && Number.isFinite(Number(state[k])) ? String(Number(state[k])) : usual; // an address may hold anything
  let steers = parseSteers(query.s), more = parseTexts(query.more); // more: what is said after the first answers
  const recipe = config.recipes.find((r) => r.name === query.recipe);
  if (recipe && !steers.length) steers = parseSteers(JSON.stringify(recipe.steer));
  const names = new Map();
  let abort = null, answering = false, lanes = {}, last = null; // abort: of the answers, or of a sweep
  const save = () => route.keep({ p: state.p, s: steers.length ? JSON.stringify(steers.map((s) => ({ ...spec(s), ...(s.on ? {} : { on: false }) }))) : '', base: state.base, n: state.n === '96' ? '' : state.n, temp: state.temp === '0.7' ? '' : state.temp, seed: state.seed === '7' ? '' : state.seed, mode: state.mode === 'chat' ? '' : state.mode, more: more.length ? JSON.stringify(more) : '', recipe: '' });
  const live = () => steers.filter((s) => s.on).map(spec);

  /* ---- controls ---- */
  const rail = h('div.steers');
  const dictOf = (s) => s.feature && config.dicts.find((d) => d.name === s.feature.dict);

  function converted(s) {
    const d = dictOf(s), u = s.feature && names.get(`${s.feature.dict}/${s.feature.index}`)?.units;
    if (!d || !u || s.op === 'scale' || s.op === 'ablate') return '';
    // Along the unit vector, but for a clamp, which sets an activation; what is added raw is the decoder row as it is.
    const raw = s.op === 'add' ? u.row_norm : 1, along = s.value * { rms: u.rms, max_act: u.max_act, raw }[s.unit];
    if (!Number.isFinite(along)) return '';
    const parts = [];
    if (s.unit !== 'raw') parts.push(`${num(along / raw)} raw`);
    if (s.unit !== 'rms' && u.rms) parts.push(`${num(along / u.rms)} × the norm of ${num(u.rms)}`);
    if (s.unit !== 'max_act' && u.max_act) parts.push(`${num(along / u.max_act)} × its top activation, ${num(u.max_act)}`);
    return `= ${parts.join(' = ')}`;
  }
  // Louapre 2025: about half the layer's norm is the sweet spot; beyond it text breaks.
  function band(s) {
    if (s.op !== 'add' || s.unit !== 'rms') return '';
    const a = Math.abs(s.value);
    return a === 0 ? 'nothing is changed' : a <= 0.6 ? 'usual' : a <= 1 ? 'strong' : 'text is likely to break';
  }

  // Monitors that the server keeps; a condition that came with a recipe stays as it is.
  const conditions = (s) => [['', 'always'], ...(config.monitors || []).map((m) => [m.name, `when ${m.name}`]), ...(s.when && !s.when.monitor ? [['*', `when ${JSON.stringify(s.when).slice(0, 60)}`]] : [])];

  function steerCard(s, i) {
    const key = s.feature && `${s.feature.dict}/${s.feature.index}`, f = key && names.get(key), d = dictOf(s);
    const title = s.feature ? [d?.store ? h('a.no', { href: featureLink(d.store, s.feature.index) }, String(s.feature.index)) : h('span.no', String(s.feature.index)), ' ', h('span.label', called(f?.label, s.feature.dict))]
      : s.direction ? [h('span.no', 'direction'), ' ', h('span.label', s.direction)] : [h('span.no', 'vector'), ' ', h('span.label', s.site || '')];
    const note = h('p.note'), bandNote = h('span.band');
    const limit = s.op === 'scale' ? [0, 4, 0.05] : s.op === 'clamp' || s.op === 'cap' ? [0, RANGE[s.unit], RANGE[s.unit] / 80] : [-RANGE[s.unit], RANGE[s.unit], RANGE[s.unit] / 80];
    const slider = h('input', { type: 'range', min: limit[0], max: limit[1], step: limit[2], value: s.value, 'aria-label': `Strength of ${f?.label || 'this steer'}` });
    const number = h('input', { type: 'number', step: 'any', value: s.value, 'aria-label': 'Strength as a number' });
    const tell = () => { fill(note, converted(s), s.op === 'cap' && !s.floor && s.min !== undefined ? ` and at least ${num(s.min)}` : ''); fill(bandNote, band(s)); bandNote.dataset.band = band(s); };
    const set = (v) => { if (!Number.isFinite(v)) return; s.value = v; tell(); save(); soon(); };
    slider.addEventListener('input', () => { number.value = slider.value; set(Number(slider.value)); });
    number.addEventListener('input', () => { slider.value = number.value; set(parseFloat(number.value)); });
    tell();
    const again = (more) => { Object.assign(s, more); drawRail(); save(); soon(); };
    const on = h('input', { type: 'checkbox', checked: s.on, 'aria-label': 'On', onchange: () => again({ on: on.checked }) });
    return h('section.card.steer-card', { class: s.on ? 'card steer-card' : 'card steer-card off' },
      h('header', h('label.check', on, h('span.steer-name', title)), h('button.link', { type: 'button', 'aria-label': 'Remove this steer', onclick: () => { steers.splice(i, 1); drawRail(); save(); soon(); } }, 'remove')),
      h('div.steer-line', select(s.floor ? OPS.map(([k, t]) => [k, k === 'cap' ? 'hold above' : t]) : OPS, s.op, (v) => again({ op: v, floor: false, min: undefined, value: v === 'scale' ? 0 : v === 'clamp' ? 1 : s.value, unit: v === 'clamp' ? 'max_act' : s.unit }), { 'aria-label': 'What is done' }),
        s.op === 'ablate' ? null : number, s.op === 'scale' || s.op === 'ablate' ? null : select(s.feature ? UNITS : UNITS.filter(([u]) => u !== 'max_act'), s.unit, (v) => again({ unit: v, value: v === 'rms' ? 0.5 : 1 }), { 'aria-label': 'Unit' })),
      s.op === 'ablate' ? null : [slider, h('div.band-line', h('span.band-scale', { class: s.op === 'add' && s.unit === 'rms' ? 'band-scale shown' : 'band-scale' }), bandNote)], note,
      conditions(s).length > 1 ? select(conditions(s), s.when ? s.when.monitor || '*' : '', (v) => again({ when: v === '*' ? s.when : v ? { monitor: v } : undefined }), { 'aria-label': 'Under which condition' }) : null,
      h('div.steer-line', select(Array.isArray(s.positions) ? [...POSITIONS, ['*', `at ${s.positions.length} chosen tokens`]] : POSITIONS, Array.isArray(s.positions) ? '*' : s.positions || 'all', (v) => again({ positions: v === '*' ? s.positions : v }), { 'aria-label': 'Where in the text' }), s.feature || s.direction ? h('button.small', { type: 'button', disabled: s.op !== 'add', title: s.op === 'add' ? 'Seven strengths, measured' : 'A sweep is of added strengths', onclick: () => sweep(s) }, 'Sweep') : null));
  }

  async function nameSteers() {
    const want = steers.filter((s) => s.feature && !names.get(`${s.feature.dict}/${s.feature.index}`)?.units && dictOf(s)?.store);
    if (!want.length) return;
    for (const s of want) {
      const by = await api.briefs(dictOf(s).store, [s.feature.index], s.feature.dict).catch(() => new Map());
      names.set(`${s.feature.dict}/${s.feature.index}`, { units: {}, ...by.get(s.feature.index) });
    }
    drawRail();
  }

  function picker() {
    const dicts = config.dicts.filter((d) => d.store);
    const found = h('ul.found', { role: 'listbox', 'aria-label': 'Features found' });
    let use = dicts[0], of = '', turn = 0; // of: the words of which found is the answer
    const look = debounce(async () => {
      const q = input.value.trim(), mine = ++turn;
      of = '';
      if (!q || !use) return fill(found);
      try {
        const r = await api.features(use.store, { q, limit: 6 });
        const exact = /^\d+$/.test(q) && Number(q) < config.stores.find((x) => x.name === use.store).n_features ? [...(await api.briefs(use.store, [Number(q)]).catch(() => new Map())).values()] : [];
        const list = [...exact, ...r.features].slice(0, 6);
        if (mine !== turn) return;
        of = q;
        fill(found, list.length ? list.map((f) => h('li', { role: 'option', 'aria-selected': 'false' }, h('button.found-row', { type: 'button', onclick: () => { addSteer(fresh({ feature: { dict: use.name, index: f.index } }), f); turn++; input.value = ''; fill(found); } }, h('span.no', String(f.index)), h('span.label', called(f.label, 'no words')), h('span.chips', f.top_logits.slice(0, 3).map((t) => h('code', tokenName(t.token))))))) : h('li.soft', { role: 'option', 'aria-selected': 'false' }, /^\d+$/.test(q) ? `There is no feature ${q}, and none has it as a word.` : 'No feature has these words.'));
      } catch (e) {
        if (mine === turn) fill(found, h('li', { role: 'option', 'aria-selected': 'false' }, problem(e)));
      }
    }, 200);
    const input = h('input', { type: 'search', placeholder: 'a word, or a number', autocomplete: 'off', 'data-search': true, oninput: look, onkeydown: (e) => { if (e.key === 'Enter' && of && of === input.value.trim()) found.querySelector('button')?.click(); } });
    return h('section.add-steer', dicts.length ? [field('Add a feature', input), dicts.length > 1 ? select(dicts.map((d) => [d.name, d.name]), use.name, (v) => { use = dicts.find((d) => d.name === v); look(); }, { 'aria-label': 'Dictionary' }) : null, found] : h('p.soft', 'Register a dictionary and its store (--dict, --store) to steer by features.'),
      config.directions.length ? field('Add a direction', select([['', 'choose …'], ...config.directions.map((d) => [d.name, `${d.name} (${d.kind}, layer ${d.layer})`])], '', (v) => v && addSteer(fresh({ direction: v })))) : null);
  }
  function addSteer(s, brief) {
    if (brief && s.feature) names.set(`${s.feature.dict}/${s.feature.index}`, brief);
    steers.push(s);
    drawRail();
    save();
    soon();
  }
  // What had the focus has it again: a card is made anew when its unit or what is done changes.
  function drawRail() {
    const now = document.activeElement, i = [...rail.children].findIndex((c) => c.contains(now)), name = now?.getAttribute('aria-label');
    fill(rail, steers.length ? steers.map(steerCard) : empty('Nothing is steered yet.', 'Add a feature by a word, or open one under Features and choose “Steer with this”.'));
    if (i >= 0 && name) [...(rail.children[i]?.querySelectorAll('[aria-label]') ?? [])].find((x) => x.getAttribute('aria-label') === name)?.focus();
    nameSteers();
  }

  /* ---- panes ---- */
  const panes = h('div.panes'), quality = h('div.quality'), status = h('p.count', { 'aria-live': 'polite' }, '\u00a0');
  function pane(name) {
    const log = h('div.turns'), foot = h('p.note.pane-foot', '\u00a0');
    const el = h(`section.pane.pane-${name}`, h('h2', LANES[name]), log, foot);
    return { name, el, log, foot, text: null, said: '', tokens: [], history: [], asked: [] };
  }
  // The next answer of a pane, to what the user says now.
  function begin(lane, user) {
    lane.text = h('div.answer', { 'aria-label': `${LANES[lane.name]} answer` });
    lane.said = '';
    lane.tokens = [];
    lane.asked = [...lane.history, { role: 'user', content: user }];
    lane.log.append(...(more.length ? [h('p.asked', user)] : []), lane.text);
  }
  function piece(lane, delta, logprobs) {
    lane.said += delta;
    const list = logprobs?.content || [];
    lane.tokens.push(...list.map((t) => ({ text: t.token, lp: t.logprob })));
    const p = list.length ? list[0].logprob : undefined;
    const title = list.map((t) => `${tokenName(t.token)} ${percent(Math.exp(t.logprob))}${t.top_logprobs?.length ? ` · ${t.top_logprobs.slice(0, 4).map((x) => `${tokenName(x.token)} ${percent(Math.exp(x.logprob))}`).join(', ')}` : ''}`).join('\n');
    lane.text.append(h('span.said', { title: title || null, vars: { '--a': p === undefined ? 0 : Math.min(1, -p / 6).toFixed(3) } }, delta));
  }
  const applied = (list, cached) => `${list.map((a) => `${a.steer.op} at ${a.site}, ${whole(a.n_positions)} positions`).join('; ')}${cached ? ` (${whole(cached)} tokens of the prompt came from the cache)` : ''}`;
  // Every monitor of the server looks at every pane.
  const watch = config.monitors?.length ? { monitors: config.monitors.map((m) => m.name) } : {};
  const seen = (list) => list.map((m) => `${m.monitor} at ${whole(m.n_held)} of ${whole(m.n_looked)} tokens, highest ${num(m.max)}`).join('; ');

  function request() {
    const list = live();
    const body = { max_tokens: Number(state.n), temperature: Number(state.temp), seed: Number(state.seed) };
    const chat = state.mode === 'chat';
    if (chat) Object.assign(body, { messages: [{ role: 'user', content: state.p }], logprobs: true, top_logprobs: 5 });
    else Object.assign(body, { prompt: state.p });
    body.sonde = { ...watch, ...(list.length ? { steer: list, compare: true, ...(state.base && chat ? { prompt_baseline: state.base } : {}) } : {}) };
    return { body, path: chat ? 'v1/chat/completions' : 'v1/completions', list };
  }
  // After the first answers the histories differ: each pane is a request of its own. The server decodes them together all the same.
  function laneRequest(lane) {
    const { body } = request(), list = lane.name === 'steered' ? live() : [];
    const system = lane.name === 'prompt' ? [{ role: 'system', content: state.base }] : [];
    return { ...body, messages: [...system, ...lane.asked], sonde: { ...watch, ...(list.length ? { steer: list } : {}) } };
  }

  async function run() {
    save();
    stop();
    if (!state.p.trim()) return fill(status, 'Type a prompt first.');
    abort = new AbortController();
    answering = true;
    last = null;
    const mine = abort, { body, path, list } = request(), users = [state.p, ...(state.mode === 'chat' ? more : [])];
    const wanted = list.length ? ['plain', 'steered', ...(body.sonde.prompt_baseline ? ['prompt'] : [])] : ['plain'];
    lanes = Object.fromEntries(wanted.map((n) => [n, pane(n)]));
    const order = wanted.map((n) => lanes[n]);
    if (!list.length) order.push(null);
    fill(panes, wanted.map((n) => lanes[n].el));
    panes.dataset.n = String(wanted.length);
    fill(quality);
    fill(further);
    fill(status, 'Reading the prompt …');
    go.textContent = 'Stop';
    const t0 = performance.now();
    let n = 0, counted = 0;
    try {
      const take = (to) => (d) => {
        counted += d.usage?.completion_tokens ?? 0; // a piece of text may be several tokens
        for (const c of d.choices) {
          const lane = to[c.index];
          if (!lane || mine !== abort) continue;
          const delta = c.delta?.content ?? c.text ?? '';
          if (delta) { piece(lane, delta, c.logprobs); n++; }
          if (c.finish_reason) {
            fill(lane.foot, c.finish_reason === 'length' ? `cut at ${state.n} tokens` : 'ended by itself', c.sonde?.applied?.length ? ` · ${applied(c.sonde.applied, c.sonde.cached_positions)}` : '', c.sonde?.monitors ? ` · ${seen(c.sonde.monitors)}` : '');
          }
          if (n % 8 === 1) fill(status, 'Saying it …');
        }
      };
      for (const [i, user] of users.entries()) {
        for (const lane of Object.values(lanes)) begin(lane, user);
        if (i === 0) await api.stream(path, body, take(order), mine.signal);
        else await Promise.all(wanted.map((w) => api.stream(path, laneRequest(lanes[w]), take([lanes[w]]), mine.signal)));
        for (const lane of Object.values(lanes)) lane.history.push({ role: 'user', content: user }, { role: 'assistant', content: lane.said });
      }
      fill(status, `${num((performance.now() - t0) / 1000)} s for ${whole(counted)} tokens, seed ${state.seed}`);
      last = { request: body, answers: Object.fromEntries(wanted.map((w) => [w, lanes[w].said])), ...(more.length ? { histories: Object.fromEntries(wanted.map((w) => [w, lanes[w].history])) } : {}) };
      if (state.mode === 'chat') drawFurther();
      if (lanes.steered) await judge(mine, list, body);
    } catch (e) {
      if (e.name === 'AbortError' || mine !== abort) return;
      mine.abort(); // the other panes' answers too
      fill(status, '\u00a0');
      if (/no chat template/.test(e.message)) { state.mode = 'text'; more = []; modes.set('text'); toast('This model has no chat template: it goes on with the text'); return run(); }
      fill(quality, problem(e, run));
    } finally {
      if (mine === abort) { abort = null; answering = false; go.textContent = 'Run'; }
    }
  }
  function stop() {
    abort?.abort();
    if (answering) fill(status, 'Stopped.');
    abort = null;
    answering = false;
    go.textContent = 'Run';
  }

  /* ---- going on ---- */
  const further = h('div.further');
  function goOn(list) {
    more = list;
    save();
    return run();
  }
  function drawFurther() {
    const say = h('textarea', { rows: 2, placeholder: 'And then?', 'aria-label': 'What is said next', onkeydown: (e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); form.requestSubmit(); } } });
    const form = h('form.further-form', { onsubmit: (e) => { e.preventDefault(); if (say.value.trim()) goOn([...more, say.value.trim()]); else say.focus(); } }, say, h('button', { type: 'submit' }, 'Go on'),
      more.length ? [h('button.small', { type: 'button', onclick: () => goOn(more.slice(0, -1)) }, 'Take back'), h('button.small', { type: 'button', onclick: () => goOn([]) }, 'Start over')] : null);
    fill(further, form, h('p.note', 'Each pane goes on from its own answers. A changed steer says the whole conversation again.'));
  }

  async function judge(mine, list, body) {
    const a = lanes.plain.said, b = lanes.steered.said;
    if (JSON.stringify(lanes.plain.history) === JSON.stringify(lanes.steered.history)) {
      fill(quality, h('p', h('strong.badge', 'identical ✓'), ' The steered answer is the plain one, byte for byte.'));
      return;
    }
    const parts = changed(a, b);
    fill(lanes.steered.text, parts.map((p) => (p.isNew ? h('mark', p.text) : p.text)));
    const m = b ? await api.measure({ ...(body.messages ? { messages: lanes.steered.asked } : { text: body.prompt }), answer: b, steer: list }, mine.signal) : null;
    if (mine.signal.aborted) return;
    if (!m) { fill(quality, h('p.soft', 'The steered model said nothing: the steer may be too strong.')); return; }
    const own = lanes.plain.tokens.length ? Math.exp(-lanes.plain.tokens.reduce((s, t) => s + t.lp, 0) / lanes.plain.tokens.length) : null;
    const bad = m.rep4 > 0.25 ? 'It repeats itself.' : own && m.ppl_plain > 6 * own && m.ppl_plain > 40 ? 'The plain model finds this text very unlikely.' : '';
    last = { ...last, measure: m };
    fill(quality, h('section.card', h('header', h('h2', 'What it cost'), bad ? h('strong.warn', `⚠ ${bad}`) : null),
      h('dl.facts', h('div', { title: 'KL(steered ‖ plain), mean over the answer’s tokens' }, h('dt', 'Difference a token'), h('dd', `${num(m.kl_mean)} nats`)), h('div', h('dt', 'At most'), h('dd', `${num(m.kl_max)} nats`)),
        h('div', { title: 'Of the steered text, read by the plain model' }, h('dt', 'Perplexity to the plain model'), h('dd', `${num(m.ppl_plain)}${own ? ` (its own answer ${num(own)})` : ''}`)), h('div', { title: 'Runs of four tokens that were there before' }, h('dt', 'Repetition'), h('dd', percent(m.rep4))), h('div', h('dt', 'Tokens'), h('dd', whole(m.n)))),
      chart(m.tokens.map((_, i) => i), [{ name: 'KL, nats', values: m.tokens.map((t) => t.kl) }], { height: 110, xName: 'token', name: 'KL of the steered model to the plain one at each token', onx: (i) => fill(here, i === null || !m.tokens[i] ? '\u00a0' : `“${tokenName(m.tokens[i].token)}”: ${num(m.tokens[i].kl)} nats; steered ${percent(Math.exp(m.tokens[i].lp_steered))}, plain ${percent(Math.exp(m.tokens[i].lp_plain))}`) }), here));
  }
  const here = h('p.note', '\u00a0');

  /* ---- sweep ---- */
  const sweepBox = h('div');
  async function sweep(s) {
    soon.cancel();
    stop();
    abort = new AbortController();
    // As it stands now: what is changed meanwhile is of another sweep.
    const own = spec(s), { unit } = s, chat = state.mode === 'chat', messages = [{ role: 'user', content: state.p }], said = state.p;
    const how = { max_tokens: Math.min(64, Number(state.n)), temperature: Number(state.temp), seed: Number(state.seed) };
    const mine = abort, base = unit === 'rms' ? 1 : RANGE[unit] / 2, rows = [], others = steers.filter((x) => x !== s && x.on).map(spec);
    const d = dictOf(s)?.kind === 'crosscoder' ? null : dictOf(s); // whose feature is read in the answers: a crosscoder's is at no one site
    const body = h('tbody'), plot = h('div');
    fill(sweepBox, h('section.card', h('header', h('h2', 'Strengths'), h('button.small', { type: 'button', onclick: () => { mine.abort(); fill(sweepBox); } }, 'Close')), plot,
      h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Strengths' }, h('table.plain.sweep', h('thead', h('tr', ['Strength', 'KL', 'Perplexity', 'Repetition', d ? 'Feature on' : null, 'Answer'].filter(Boolean).map((x) => h('th', { scope: 'col' }, x)))), body)),
      h('p.note', 'KL to the plain model, nats a token; perplexity of the answer to the plain model; share of repeated runs of four tokens; share of the answer’s tokens on which the feature is active when the plain model reads it.')));
    sweepBox.scrollIntoView({ block: 'nearest' });
    try {
      for (const k of SWEEP) {
        const value = k * base, list = [...others, { ...own, value }];
        const r = await api.post(chat ? 'v1/chat/completions' : 'v1/completions', { ...(chat ? { messages } : { prompt: said }), ...how, sonde: { steer: list } }, mine.signal);
        const text = r.choices[0].message?.content ?? r.choices[0].text ?? '';
        const m = text ? await api.measure({ ...(chat ? { messages } : { text: said }), answer: text, steer: list }, mine.signal) : null;
        let on = null;
        if (d && m) { // read behind its prompt, as it was said
          const a = await api.activations({ ...(chat ? { messages: [...messages, { role: 'assistant', content: text }] } : { text: said + text }), dict: d.name, features: [own.feature.index], top_k: 0, n_features: 0 }, mine.signal);
          on = a.features[0].values.slice(-m.n).filter((x) => x > 0).length / m.n;
        }
        rows.push({ value, m, on, text });
        body.append(h('tr', h('th', { scope: 'row' }, h('button.link', { type: 'button', title: 'Take this strength', onclick: () => { Object.assign(s, { op: 'add', unit, value }); drawRail(); save(); run(); } }, num(value))), h('td.n', m ? num(m.kl_mean) : '–'), h('td.n', m ? num(m.ppl_plain) : '–'), h('td.n', m ? percent(m.rep4) : '–'), d ? h('td.n', percent(on)) : null, h('td.sweep-text', text || 'nothing')));
        const ok = rows.filter((x) => x.m);
        if (ok.length > 1) fill(plot, chart(ok.map((x) => x.value), [{ name: 'KL', values: ok.map((x) => x.m.kl_mean) }, ...(d ? [{ name: 'feature on', values: ok.map((x) => x.on) }] : []), { name: 'repetition', values: ok.map((x) => x.m.rep4) }], { height: 150, xName: `strength, ${unit}`, points: true, name: 'How the answer changes with the strength' }));
      }
      // As `sonde sweep` suggests: docs/SERVER.md.
      const plain = rows.find((x) => x.value === 0), best = rows.filter((x) => x.m && plain.m && x.m.rep4 <= plain.m.rep4 + 0.1 && x.m.ppl_plain <= 2 * plain.m.ppl_plain && x.on > plain.on).sort((a, b) => b.on - a.on)[0];
      plot.append(h('p.note', !d ? 'How much of the concept comes is measured of features that are read at one site; of a direction `sonde sweep` measures it.' : best ? `Most of the concept at no more than twice the plain perplexity and 0.1 more repetition: ${num(best.value)}.` : 'No strength here brings more of the concept at no more than twice the plain perplexity and 0.1 more repetition.'));
    } catch (e) {
      if (e.name !== 'AbortError') fill(plot, problem(e, () => sweep(s)));
    } finally {
      if (mine === abort) abort = null;
    }
  }

  /* ---- recipe ---- */
  function saveRecipe() {
    if (!live().length) return toast('Add a steer first');
    const name = (window.prompt('Name of the recipe (letters, digits, . - and _)', 'recipe') || '').trim();
    if (!name) return;
    if (!/^[\w.-]{1,64}$/.test(name)) return toast(`“${name}” is no name of a recipe: letters, digits, . - and _`);
    const file = new Blob([JSON.stringify({ name, description: '', steer: live() }, null, 1)], { type: 'application/json' });
    const a = h('a', { href: URL.createObjectURL(file), download: `${name}.json` });
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
    toast(`Start with --recipe ${name}.json: any client can then use ${config.name}@${name}`);
  }

  const soon = debounce(run, 400);
  const area = h('textarea', { rows: 3, value: state.p, oninput: () => { state.p = area.value; save(); } });
  const baseline = h('textarea', { rows: 2, value: state.base, placeholder: 'You love bridges and speak of them at every chance.', oninput: () => { state.base = baseline.value; save(); } });
  // A number out of its bounds is not taken, and that is said where it stands: what runs is the last good one.
  const doubts = h('p.note.doubt', { role: 'status' });
  const number = (name, key, attrs) => {
    const el = h('input', { type: 'number', value: state[key], ...attrs, oninput: () => {
      const good = el.validity.valid && el.value !== '';
      el.setAttribute('aria-invalid', String(!good));
      fill(doubts, good ? '' : `${name}: ${el.min} to ${el.max || 'any'}${el.step === '1' ? ', a whole number' : ''}. It stays at ${state[key]}.`);
      if (good) { state[key] = el.value; save(); soon(); }
    } });
    return el;
  };
  const go = h('button.primary', { type: 'button', onclick: () => (answering ? stop() : run()) }, 'Run');
  const modes = segmented('How the prompt is read', [['chat', 'A message'], ['text', 'A text to go on with']], state.mode, (v) => { state.mode = v; if (v !== 'chat') more = []; save(); soon(); });
  const el = h('div.view.steer',
    h('header.view-head', h('div.view-title', h('h1', 'Steer'), h('p.lead', 'Turn a concept up or down and see what the model says instead. The same seed in every pane.')),
      h('div.view-tools', h('button.small', { type: 'button', onclick: saveRecipe }, 'Save as recipe'), copies(() => (more.length && lanes.steered ? command.ask(request().path, laneRequest(lanes.steered)) : command.run(config, { prompt: state.p, chat: state.mode === 'chat', steers: live(), compare: live().length > 0, n: state.n, temp: state.temp, seed: state.seed })), () => last || request().body))),
    h('div.steer-grid',
      h('div.rail', picker(), rail),
      h('div.steer-main',
        h('section.card.prompt-card', h('div.prompt-fields', field('Prompt', area), field('The same by a prompt alone (a system message)', baseline)), h('div.prompt-tools', modes, h('div.sampling', field('Tokens', number('Tokens', 'n', { min: 1, max: 1024, step: 1 })), field('Temperature', number('Temperature', 'temp', { min: 0, max: 2, step: 0.1 })), field('Seed', number('Seed', 'seed', { min: 0, step: 1 }))), go), doubts, status),
        panes, further, quality, sweepBox)));
  drawRail();
  fill(panes, empty('No answer yet.', 'Run it: plain and steered are said side by side.'));
  return { title: 'Steer', el, shown() { if (steers.length) run(); }, keys: { run }, leave() { soon.cancel(); stop(); } };
}
