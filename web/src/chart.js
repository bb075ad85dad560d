// Lines over a common axis, by uPlot. The element keeps its height before and after the data; colours follow the theme.
import uPlot from 'uplot';
import { h, fill } from './dom.js';
import { colour } from './theme.js';
import { num, whole } from './format.js';

const DASH = [[], [6, 4], [2, 3], [10, 4, 2, 4]];
const STEPS = Array.from({ length: 24 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3)); // of x: steps and layers are whole
const wide = (u, v) => Math.max(46, 18 + 7.5 * Math.max(0, ...(v || []).map((t) => t.length))); // of the y axis: room for its longest label
const LINES = ['--accent', '--up', '--down', '--soft'];

// series: [{name, values}]; x: values; options: height, xName, log, points, name (for people who hear the page), mark (x of a line).
export function chart(x, series, { height = 190, xName = 'step', log = false, points = false, name, onx } = {}) {
  const box = h('div.chart', { role: 'img', 'aria-label': name || series.map((s) => s.name).join(', '), vars: { 'min-height': `${height + 34}px` } });
  let plot = null, width = 0;
  const draw = () => {
    plot?.destroy();
    fill(box);
    if (!width) return;
    const axis = { stroke: colour('--faint'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line'), width: 1 }, font: `12px ${colour('--sans')}`, labelFont: `12px ${colour('--sans')}` };
    plot = new uPlot({
      width, height, cursor: { y: false, points: { size: 7 } }, legend: { live: true },
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [{ ...axis, size: 30, incrs: STEPS, values: (u, v) => v.map((t) => (t >= 1000 ? `${+(t / 1000).toFixed(1)}k` : `${+t.toPrecision(4)}`)) }, { ...axis, size: wide, values: (u, v) => v.map((t) => (t === null ? '' : (v.every((x) => x === null || Number.isInteger(x)) ? whole : num)(t))) }],
      series: [{ label: xName, value: (u, v) => (v === null ? '–' : num(v)) },
        ...series.map((s, i) => ({ label: s.name, stroke: colour(LINES[i % 4]), dash: DASH[i % 4], width: 1.8, spanGaps: true, points: { show: points, size: 6 }, value: (u, v) => (v === null ? '–' : num(v)) }))],
      hooks: onx ? { setCursor: [(u) => onx(u.cursor.idx ?? null)] } : {},
    }, [x, ...series.map((s) => s.values)], box);
  };
  const watch = new ResizeObserver(() => {
    const w = Math.floor(box.clientWidth);
    if (w && w !== width) { width = w; if (plot) plot.setSize({ width: w, height }); else draw(); }
    if (!box.isConnected && width) { watch.disconnect(); window.removeEventListener('sonde-theme', draw); }
  });
  watch.observe(box);
  window.addEventListener('sonde-theme', draw);
  box.set = (nx, ns) => { x = nx; series = ns; if (plot && plot.series.length === ns.length + 1) plot.setData([x, ...ns.map((s) => s.values)]); else draw(); };
  return box;
}
