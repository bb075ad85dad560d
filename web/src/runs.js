// Runs: trainings as they go, from events.jsonl. What is new is asked for every two seconds while the run moves.
import { h, fill } from './dom.js';
import * as api from './api.js';
import * as route from './route.js';
import * as command from './command.js';
import { bytes, num, whole } from './format.js';
import { copies, empty, problem, segmented } from './parts.js';
import { chart } from './chart.js';

const FIRST = ['loss', 'fvu', 'l0', 'dead', 'train/loss', 'eval/loss', 'kl', 'reward', 'ce', 'tok_s', 'lr', 'grad_norm'];
const SKIP = new Set(['event', 'step', 'n_tokens', 'provenance', 't', 'seconds', 'train_seconds']);
const NAME = { fvu: 'FVU, variance left unexplained', l0: 'L0, features a token', dead: 'Dead features', loss: 'Loss', lr: 'Learning rate', grad_norm: 'Norm of the gradient', tok_s: 'Tokens a second', aux_loss: 'Auxiliary loss', n_nonfinite: 'Numbers not finite' };
const LIVE_S = 15, EVERY_MS = 2000, POINTS = 1500;

const order = (key) => { const i = FIRST.indexOf(key); return i < 0 ? FIRST.length : i; };

// One value a key and step; at most POINTS of them, means of neighbours.
function curves(events) {
  const keys = new Map();
  for (const e of events) {
    if (!Number.isFinite(e.step)) continue;
    for (const [k, v] of Object.entries(e)) {
      if (SKIP.has(k) || !Number.isFinite(v) || e.event === 'end') continue;
      if (!keys.has(k)) keys.set(k, { x: [], y: [] });
      keys.get(k).x.push(e.step);
      keys.get(k).y.push(v);
    }
  }
  for (const c of keys.values()) {
    const by = Math.ceil(c.x.length / POINTS);
    if (by < 2) continue;
    const x = [], y = [];
    for (let i = 0; i < c.x.length; i += by) { const part = c.y.slice(i, i + by); x.push(c.x[i]); y.push(part.reduce((a, b) => a + b, 0) / part.length); }
    Object.assign(c, { x, y });
  }
  return [...keys].filter(([k, c]) => c.y.some((v) => v !== c.y[0]) || FIRST.includes(k)).sort((a, b) => order(a[0]) - order(b[0]) || a[0].localeCompare(b[0]));
}

export async function show({ config, parts, query }) {
  const state = { log: '', ...query };
  let name = parts[1], events = [], next = 0, timer = 0, gone = false, boxes = new Map(), asking = false, lost = ''; // lost: why nothing more comes
  const list = h('nav.run-list', { 'aria-label': 'Runs' }), head = h('div.run-head'), trouble = h('div'), grid = h('div.run-grid');
  let runs = { runs: [], now: 0 };

  function drawList() {
    fill(list, runs.runs.map((r) => {
      const live = !lost && runs.now - r.changed < LIVE_S;
      return h('a.run-link', { href: route.link(['runs', r.name]), 'aria-current': r.name === name ? 'page' : null }, h('span.label', r.name), h('span.value', live ? h('strong.live', 'live') : bytes(r.bytes)));
    }));
  }
  function drawHead() {
    const r = runs.runs.find((x) => x.name === name), last = [...events].reverse().find((e) => Number.isFinite(e.step)) || {}, end = events.find((e) => e.event === 'end');
    const asked_ = r?.asked && Object.entries(r.asked).filter(([, v]) => v !== 0 && v !== null && v !== '' && !Array.isArray(v)).map(([k, v]) => `${k} ${v}`).join(', ');
    fill(head, h('h2', name, ' ', r && !lost && runs.now - r.changed < LIVE_S && !end ? h('strong.live', 'live') : end ? h('span.soft', 'finished') : h('span.soft', lost ? 'not heard of' : 'not moving')),
      h('dl.facts', h('div', h('dt', 'Step'), h('dd', whole(last.step))), last.n_tokens ? h('div', h('dt', 'Tokens'), h('dd', whole(last.n_tokens))) : null,
        ['loss', 'fvu', 'l0', 'dead'].filter((k) => Number.isFinite(last[k])).map((k) => h('div', h('dt', k.toUpperCase() === 'LOSS' ? 'Loss' : k === 'dead' ? 'Dead' : k.toUpperCase()), h('dd', (k === 'dead' ? whole : num)(last[k])))),
        end?.tok_s ? h('div', h('dt', 'Tokens a second'), h('dd', num(end.tok_s))) : null, end?.ce_recovered ? h('div', { title: 'Share of the loss that splicing the dictionary in keeps' }, h('dt', 'CE recovered'), h('dd', num(end.ce_recovered))) : null),
      asked_ ? h('p.note', asked_) : null);
  }
  function draw() {
    drawHead();
    const all = curves(events);
    if (!all.length) { fill(grid, empty('No curve yet.', 'The run has written no step, or nothing in it changes.')); boxes.clear(); return; }
    const keep = new Set(all.map(([k]) => k));
    for (const [k, b] of boxes) if (!keep.has(k)) { b.el.remove(); boxes.delete(k); }
    if (!boxes.size) fill(grid);
    for (const [k, c] of all) {
      const series = [{ name: k, values: c.y }];
      if (boxes.has(k)) boxes.get(k).plot.set(c.x, series);
      else {
        const positive = c.y.every((v) => v > 0), plot = chart(c.x, series, { height: 170, log: Boolean(state.log) && positive, name: `${NAME[k] || k} by step` });
        const el = h('section.card.run-card', h('h2', NAME[k] || k), plot);
        boxes.set(k, { el, plot });
        grid.append(el);
      }
    }
  }
  async function more() {
    clearTimeout(timer);
    let wait = EVERY_MS;
    if (gone || asking) return;
    asking = true;
    try {
      runs = await api.runs();
      if (gone) return;
      if (!name) return drawList();
      const a = await api.run(name, next || undefined);
      if (gone) return;
      if (a.from !== next) events = [];
      events.push(...a.events);
      const moved = a.next !== next || !boxes.size;
      next = a.next;
      if (moved && a.bytes - a.next > 1e6) wait = 0; // a long file comes in parts
      lost = '';
      fill(trouble);
      drawList();
      if (moved) draw();
      else drawHead();
    } catch (e) {
      if (gone) return;
      if (lost !== e.message) fill(trouble, problem(e, more)); // said once
      lost = e.message;
      drawList();
      drawHead();
    } finally {
      asking = false;
    }
    if (!gone) timer = setTimeout(more, wait);
  }

  runs = await api.runs();
  if (!name && runs.runs.length) name = [...runs.runs].sort((a, b) => b.changed - a.changed)[0].name;
  const el = h('div.view.runs',
    h('header.view-head', h('div.view-title', h('h1', 'Runs'), h('p.lead', 'Trainings, as they go.')), h('div.view-tools',
      segmented('Heights', [['', 'Linear'], ['1', 'Log']], state.log, (v) => { state.log = v; route.keep({ log: v }); boxes.clear(); fill(grid); draw(); }),
      copies(() => (name ? command.follow(runs.runs.find((r) => r.name === name) ?? { name }) : `sonde serve ${command.model(config)} --run DIR`), () => ({ run: name, asked: runs.runs.find((r) => r.name === name)?.asked, events })))),
    runs.runs.length ? h('div.runs-grid', list, h('div.runs-main', h('section.card', trouble, head), grid))
      : empty('No run is registered.', api.isStatic ? 'A folder of results holds none.' : 'Give the server a folder with events.jsonl, or a folder of such folders; a training that is going on is followed live:', api.isStatic ? null : h('pre.command', `sonde serve ${command.model(config)} --run runs/`)));
  return { title: name ? `${name} · Runs` : 'Runs', el, shown() { drawList(); if (runs.runs.length) more(); }, leave() { gone = true; clearTimeout(timer); } };
}
