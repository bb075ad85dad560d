// The map: every feature a dot. Drawn by regl-scatterplot; where WebGL is not to be had, on a plain canvas with the same manners:
// drag to pan, wheel or two fingers to zoom, Shift and drag to choose a region, a dot under the pointer is named.
import createScatterplot from 'regl-scatterplot';
import { h, fill } from './dom.js';
import { percent, whole } from './format.js';
import { remembered } from './memory.js';
import { record } from './regl.js';

const CLUSTER_LIGHT = ['#b4530a', '#1f5f8b', '#5c7a29', '#8b3a62', '#4b4a8f', '#a3831a', '#1c7c70', '#9b3b2e', '#6b5b4a', '#3f6fb0', '#7a4a9e', '#4f7f4f'];
const CLUSTER_DARK = ['#f0a35e', '#7db7e0', '#a9c871', '#dd8fb4', '#a7a5ea', '#dfc25f', '#6fcabd', '#e2967e', '#bfae98', '#94b8ee', '#c49be4', '#9ccf9c'];
const DENSITY_LIGHT = ['#e3d5c1', '#dcb98c', '#cf9450', '#b4530a', '#7d3503', '#4a1d00'];
const DENSITY_DARK = ['#40352a', '#6d4f30', '#a06c37', '#d0893f', '#f0a35e', '#ffd7ab'];

const isDark = () => getComputedStyle(document.documentElement).colorScheme.includes('dark') && (document.documentElement.dataset.theme === 'dark' || (document.documentElement.dataset.theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches));

// To [-1, 1] with the shape kept.
function place(points) {
  let lo = [Infinity, Infinity], hi = [-Infinity, -Infinity];
  for (const p of points) for (let k = 0; k < 2; k++) { lo[k] = Math.min(lo[k], p[k + 1]); hi[k] = Math.max(hi[k], p[k + 1]); }
  const half = Math.max(hi[0] - lo[0], hi[1] - lo[1], 1e-6) / 2 / 0.96;
  const mid = [(lo[0] + hi[0]) / 2, (lo[1] + hi[1]) / 2];
  return points.map((p) => [(p[1] - mid[0]) / half, (p[2] - mid[1]) / half]);
}

const band = (log2fires, most) => Math.max(0, Math.min(5, Math.floor((log2fires / (most || 1)) * 6)));

// WebGL without a graphics card draws slower than a plain canvas does; localStorage 'sonde-map' = 'webgl' takes it all the same.
function checkGl() {
  if (remembered('sonde-map') === 'webgl') return;
  const gl = document.createElement('canvas').getContext('webgl'), info = gl?.getExtension('WEBGL_debug_renderer_info');
  const name = info ? String(gl.getParameter(info.UNMASKED_RENDERER_WEBGL)) : '';
  if (!gl || /swiftshader|llvmpipe|software/i.test(name)) throw new Error(`no graphics card: ${name || 'no WebGL'}`);
}

export class FeatureMap {
  // onpoint(index) a dot was chosen, onregion([index]) a region, onhover(index or null).
  constructor(data, { onpoint, onregion, onhover, colour = 'cluster' }) {
    Object.assign(this, { data, onpoint, onregion, onhover, colour });
    this.points = data.points;
    this.xy = place(this.points);
    this.at = new Map(this.points.map((p, i) => [p[0], i]));
    this.most = this.points.reduce((most, p) => Math.max(most, p[4]), 1); // as arguments they are more than Safari takes
    this.canvas = h('canvas', { 'aria-hidden': 'true' });
    this.tip = h('div.map-tip', { hidden: true });
    this.stage = h('div.map-stage', this.canvas, this.tip);
    this.note = h('p.note', `${data.points.length < data.n_points ? `An even sample: ${whole(data.points.length)} of ${whole(data.n_points)} features. ` : `${whole(data.n_points)} features. `}`,
      `Two dimensions keep ${percent(data.kept)} of each feature’s ${data.k} nearest (chance ${percent(data.kept_by_chance)}): near on the map is a hint, not a measure.`);
    this.el = h('div.map', this.stage, this.note);
    this.lit = null;
    this.chosen = -1;
    this.theme = () => this.recolour();
    window.addEventListener('sonde-theme', this.theme);
  }

  palette() { return this.colour === 'density' ? (isDark() ? DENSITY_DARK : DENSITY_LIGHT) : isDark() ? CLUSTER_DARK : CLUSTER_LIGHT; }
  group(p) { return this.colour === 'density' ? band(p[4], this.most) : p[3] < 0 ? 11 : p[3] % 12; }
  size(p) { return 1.6 + (3.2 * p[4]) / this.most; }

  code() { return record.regl?.getCachedCode() ?? {}; }

  // To be called when the element is in the document.
  start() {
    this.size_ = new ResizeObserver(() => this.resize());
    this.size_.observe(this.stage);
    this.stage.addEventListener('pointerleave', () => this.over(-1));
    this.draw();
  }

  draw() {
    try {
      checkGl();
      this.newCanvas();
      this.view = null;
      this.startGl();
      this.el.dataset.drawn = 'webgl';
    } catch (e) {
      this.why = e;
      this.drawPlain();
    }
  }

  drawPlain() {
    this.gl = null;
    this.newCanvas();
    this.startPlain();
    this.el.dataset.drawn = 'canvas';
  }

  newCanvas() {
    const canvas = h('canvas', { 'aria-hidden': 'true' });
    this.canvas.replaceWith(canvas);
    this.canvas = canvas;
  }

  over(i) {
    if (i === this.hovered) return;
    this.hovered = i;
    this.onhover(i < 0 ? null : this.points[i][0]);
    this.showTip(i);
  }

  showTip(i) {
    if (i < 0 || i === undefined) {
      this.tip.hidden = true;
      return;
    }
    const p = this.points[i], at = this.screen(i);
    if (!at) return;
    fill(this.tip, h('span.no', String(p[0])), ' ', p[5] || 'no words');
    this.tip.hidden = false;
    const wide = this.stage.clientWidth, w = this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(4, Math.min(wide - w - 4, at[0] - w / 2))}px`;
    this.tip.style.top = `${at[1] > 44 ? at[1] - 34 : at[1] + 14}px`;
  }

  screen(i) {
    if (!this.gl) return this.toScreen(this.xy[i]);
    return this.gl.getScreenPosition(i);
  }

  // With WebGL when it has drawn, unless it is gone by then; the plain canvas is painted anew.
  onGl(fn) {
    const gl = this.gl;
    if (gl) this.ready.then(() => { if (gl === this.gl) fn(gl); }, () => {});
    else this.paint();
  }

  // Only these features stay bright; null: all.
  light(indexes) {
    this.lit = indexes ? indexes.map((x) => this.at.get(x)).filter((x) => x !== undefined) : null;
    this.onGl((gl) => (this.lit ? gl.filter(this.lit, { preventEvent: true }) : gl.unfilter({ preventEvent: true })));
  }

  // The chosen feature, from outside.
  choose(index) {
    const i = this.at.get(index) ?? -1;
    this.chosen = i;
    this.onGl((gl) => (i < 0 ? gl.deselect({ preventEvent: true }) : gl.select([i], { preventEvent: true })));
  }

  point(index) {
    const i = this.at.get(index) ?? -1;
    this.hovered = i;
    this.showTip(i);
    this.onGl((gl) => gl.hover(i < 0 ? -1 : i, { preventEvent: true }));
  }

  recolour(colour) {
    if (colour) this.colour = colour;
    this.onGl(() => { this.ready = this.drawGl(); });
  }

  reset() {
    if (this.gl) this.gl.reset();
    else { this.view = { x: 0, y: 0, k: 1 }; this.paint(); }
    this.showTip(-1);
  }

  leave() {
    window.removeEventListener('sonde-theme', this.theme);
    this.size_?.disconnect();
    this.left = true;
    this.dropGl?.();
  }

  resize() {
    const { clientWidth: w, clientHeight: ht } = this.stage;
    if (!w || !ht) return;
    if (this.gl) this.gl.set({ width: w, height: ht });
    else this.paint();
  }

  /* ---- WebGL ---- */

  startGl() {
    const { clientWidth: w, clientHeight: ht } = this.stage;
    const gl = createScatterplot({
      canvas: this.canvas, width: w || 400, height: ht || 400, pointSize: 3, opacity: 0.85, pointSizeSelected: 4, pointOutlineWidth: 2, deselectOnEscape: true,
      lassoInitiator: false, lassoMinDelay: 0, actionKeyMap: { lasso: ['shift'], rotate: ['alt'] }, showReticle: false, opacityInactiveMax: 1, opacityInactiveScale: 1,
    });
    gl.subscribe('select', ({ points }) => {
      if (points.length === 1) this.onpoint(this.points[points[0]][0]);
      else if (points.length > 1) this.onregion(points.map((i) => this.points[i][0]));
    });
    gl.subscribe('deselect', () => this.onregion(null));
    gl.subscribe('pointOver', (i) => this.over(i));
    gl.subscribe('pointOut', () => this.over(-1));
    gl.subscribe('view', () => { if (!this.tip.hidden) this.showTip(this.hovered); });
    this.gl = gl;
    this.ready = this.drawGl();
    const drawn = this.ready, regl = record.regl;
    this.dropGl = () => {
      this.dropGl = null;
      drawn.catch(() => {}).then(() => { gl.destroy(); if (record.regl === regl) record.regl = null; });
    };
    // A driver that begins anew, a machine that slept: until the context comes back the map is drawn without it.
    regl.on('lost', () => { if (gl === this.gl) this.drawPlain(); });
    regl.on('restore', () => {
      this.dropGl?.();
      if (!this.left) this.draw();
    });
  }

  async drawGl() {
    const style = getComputedStyle(document.documentElement);
    const colours = this.palette();
    this.gl.set({
      backgroundColor: style.getPropertyValue('--card').trim(), colorBy: 'valueA', sizeBy: 'valueB', pointColor: colours, pointColorActive: style.getPropertyValue('--ink').trim(),
      pointColorHover: style.getPropertyValue('--ink').trim(), pointSize: [2, 2.8, 3.6, 4.4, 5.2, 6], lassoColor: style.getPropertyValue('--accent').trim(),
    });
    const gl = this.gl;
    await gl.draw({ x: this.xy.map((p) => p[0]), y: this.xy.map((p) => p[1]), valueA: this.points.map((p) => this.group(p)), valueB: this.points.map((p) => p[4] / this.most) },
      { zDataType: 'categorical', wDataType: 'continuous' });
    if (gl !== this.gl) return;
    if (this.lit) gl.filter(this.lit, { preventEvent: true });
    if (this.chosen >= 0) gl.select([this.chosen], { preventEvent: true });
  }

  /* ---- a plain canvas ---- */

  toScreen([x, y]) {
    return this.toScreenNow()([x, y]);
  }

  // The same for many points: the stage is measured once.
  toScreenNow() {
    const { clientWidth: w, clientHeight: ht } = this.stage, v = this.view, unit = (Math.min(w, ht) / 2) * v.k;
    return ([x, y]) => [w / 2 + (x - v.x) * unit, ht / 2 - (y - v.y) * unit];
  }

  startPlain() {
    this.view = { x: 0, y: 0, k: 1 };
    const unit = () => (Math.min(this.stage.clientWidth, this.stage.clientHeight) / 2) * this.view.k;
    const held = new Map();
    let moved = false, lasso = null, apart = 0;
    this.canvas.addEventListener('pointerdown', (e) => {
      this.canvas.setPointerCapture(e.pointerId);
      held.set(e.pointerId, [e.offsetX, e.offsetY]);
      moved = false;
      if (e.shiftKey) lasso = [[e.offsetX, e.offsetY]];
    });
    this.canvas.addEventListener('pointermove', (e) => {
      const old = held.get(e.pointerId);
      if (!old) return this.over(this.nearest(e.offsetX, e.offsetY));
      if (Math.hypot(e.offsetX - old[0], e.offsetY - old[1]) > 2) moved = true;
      if (lasso) lasso.push([e.offsetX, e.offsetY]);
      else if (held.size === 1) { this.view.x -= (e.offsetX - old[0]) / unit(); this.view.y += (e.offsetY - old[1]) / unit(); }
      held.set(e.pointerId, [e.offsetX, e.offsetY]);
      if (held.size === 2) {
        const [a, b] = [...held.values()], now = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (apart) this.zoom(now / apart, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
        apart = now;
      }
      this.lasso = lasso;
      this.paint();
    });
    const up = (e) => {
      held.delete(e.pointerId);
      apart = 0;
      if (lasso && lasso.length > 3) this.onregion(this.inside(lasso).map((i) => this.points[i][0]));
      else if (!moved && e.type === 'pointerup') {
        const i = this.nearest(e.offsetX, e.offsetY);
        if (i >= 0) this.onpoint(this.points[i][0]);
        else this.onregion(null);
      }
      lasso = this.lasso = null;
      this.paint();
    };
    this.canvas.addEventListener('pointerup', up);
    this.canvas.addEventListener('pointercancel', up);
    this.canvas.addEventListener('wheel', (e) => { e.preventDefault(); this.zoom(Math.exp(-e.deltaY / 400), e.offsetX, e.offsetY); this.paint(); }, { passive: false });
    this.paint();
  }

  zoom(by, x, y) {
    const v = this.view, { clientWidth: w, clientHeight: ht } = this.stage, k = Math.max(0.5, Math.min(200, v.k * by));
    const unit = Math.min(w, ht) / 2, dx = x - w / 2, dy = ht / 2 - y;
    v.x += dx / (unit * v.k) - dx / (unit * k);
    v.y += dy / (unit * v.k) - dy / (unit * k);
    v.k = k;
  }

  nearest(x, y) {
    const at = this.toScreenNow();
    let best = -1, d = 144;
    for (let i = 0; i < this.xy.length; i++) {
      const [a, b] = at(this.xy[i]), q = (a - x) ** 2 + (b - y) ** 2;
      if (q < d) { d = q; best = i; }
    }
    return best;
  }

  inside(poly) {
    const found = [], at = this.toScreenNow();
    this.xy.forEach((p, i) => {
      const [x, y] = at(p);
      let odd = false;
      for (let a = 0, b = poly.length - 1; a < poly.length; b = a++) if (poly[a][1] > y !== poly[b][1] > y && x < ((poly[b][0] - poly[a][0]) * (y - poly[a][1])) / (poly[b][1] - poly[a][1]) + poly[a][0]) odd = !odd;
      if (odd) found.push(i);
    });
    return found;
  }

  paint() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.view) this.paintNow();
    });
  }

  paintNow() {
    const { clientWidth: w, clientHeight: ht } = this.stage, scale = devicePixelRatio || 1;
    if (!w || !ht) return;
    if (this.canvas.width !== Math.round(w * scale) || this.canvas.height !== Math.round(ht * scale)) { this.canvas.width = Math.round(w * scale); this.canvas.height = Math.round(ht * scale); }
    // In memory: this canvas is used where no graphics card is, and there a browser's emulated one takes seconds for so many dots.
    const c = this.canvas.getContext('2d', { willReadFrequently: true }), colours = this.palette(), lit = this.lit ? new Set(this.lit) : null;
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, w, ht);
    const by = new Map(), at = this.toScreenNow(), grown = Math.min(2, Math.sqrt(this.view.k));
    this.points.forEach((p, i) => { const k = lit && !lit.has(i) ? -1 : this.group(p); if (!by.has(k)) by.set(k, []); by.get(k).push(i); });
    for (const [k, list] of [...by].sort((a, b) => a[0] - b[0])) {
      c.fillStyle = k < 0 ? 'rgba(128,120,108,.18)' : colours[k];
      for (const i of list) {
        const [x, y] = at(this.xy[i]), r = this.size(this.points[i]) * grown;
        if (x > -9 && y > -9 && x < w + 9 && y < ht + 9) c.fillRect(x - r / 2, y - r / 2, r, r);
      }
    }
    const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink');
    for (const i of [this.chosen, this.hovered]) {
      if (i === undefined || i < 0) continue;
      const [x, y] = this.toScreen(this.xy[i]);
      c.strokeStyle = ink;
      c.lineWidth = 2;
      c.beginPath();
      c.arc(x, y, 6, 0, 7);
      c.stroke();
    }
    if (this.lasso) {
      c.strokeStyle = ink;
      c.setLineDash([4, 3]);
      c.beginPath();
      this.lasso.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
      c.closePath();
      c.stroke();
      c.setLineDash([]);
    }
    if (!this.tip.hidden) this.showTip(this.hovered);
  }
}
