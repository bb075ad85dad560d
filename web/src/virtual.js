// A list of any length: rows of one height, only those in sight are there, read in pages when they come into sight.
import { h, fill } from './dom.js';

const PAGE = 100, TALLEST = 8e6; // pixels: browsers draw nothing that is much taller (Firefox 17.9 million, Chromium 33.5 million)

// read(offset, limit) -> {features, n_total}; row(f, i) fills a row's cells; columns: names for people who hear the page.
export class VirtualList {
  constructor({ height, label, columns, row, blank, onchoose, onopen, onfail }) {
    Object.assign(this, { height, row, blank, onchoose, onopen, onfail });
    this.space = h('div.vspace', { role: 'rowgroup' });
    this.head = h('div.vhead', { role: 'row' }, columns.map(([name, cls]) => h('span', { role: 'columnheader', class: cls }, name)));
    this.el = h('div.vlist', { role: 'grid', tabindex: '0', 'aria-label': label, 'aria-colcount': String(columns.length) }, h('div', { role: 'rowgroup', class: 'vhead-group' }, this.head), this.space);
    this.rows = new Map();
    this.at = -1;
    this.total = 0;
    this.pages = new Map();
    this.turn = 0;
    this.draw = this.draw.bind(this);
    this.el.addEventListener('scroll', () => { this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.draw(); }); }, { passive: true });
    this.el.addEventListener('keydown', (e) => this.key(e));
    this.size = new ResizeObserver(this.draw);
    this.size.observe(this.el);
  }

  // A new question: read is asked for its first page at once; resolves when it has come.
  async ask(read) {
    const turn = ++this.turn;
    const first = await read(0, PAGE);
    if (turn !== this.turn) return null;
    this.read = read;
    this.pages = new Map([[0, first.features]]);
    this.total = first.n_total;
    this.at = -1;
    this.el.scrollTop = 0;
    this.space.style.height = `${Math.min(TALLEST, this.total * this.height)}px`;
    this.el.setAttribute('aria-rowcount', String(this.total + 1));
    this.rows.clear();
    fill(this.space);
    this.el.removeAttribute('aria-activedescendant');
    this.draw();
    return first;
  }

  item(i) {
    const page = this.pages.get(Math.floor(i / PAGE));
    return page && page !== 'asked' ? page[i % PAGE] : null;
  }

  want(page) {
    if (this.pages.has(page) || !this.read) return;
    const turn = this.turn;
    this.pages.set(page, 'asked');
    this.read(page * PAGE, PAGE).then((r) => {
      if (turn !== this.turn) return;
      this.pages.set(page, r.features);
      for (const [i, el] of this.rows) if (Math.floor(i / PAGE) === page) this.fillRow(el, i);
    }, (e) => {
      if (turn !== this.turn) return;
      this.pages.delete(page);
      this.onfail?.(e);
    });
  }

  // Asks again for what is in sight and did not come.
  again() { for (const i of this.rows.keys()) this.want(Math.floor(i / PAGE)); }

  fillRow(el, i) {
    const f = this.item(i);
    el.classList.toggle('blank', !f);
    fill(el, f ? this.row(f, i) : this.blank());
  }

  // How many pixels of the rows one of the scroll bar is: more than one where they are taller than a browser draws.
  ratio() {
    const high = this.el.clientHeight - this.head.offsetHeight, all = this.total * this.height;
    return all > TALLEST && TALLEST > high ? (all - high) / (TALLEST - high) : 1;
  }

  draw() {
    const bar = this.el.scrollTop, top = bar * this.ratio(), high = this.el.clientHeight || 600, place = (i) => `translateY(${i * this.height - top + bar}px)`;
    const from = Math.max(0, Math.floor(top / this.height) - 6), to = Math.min(this.total, Math.ceil((top + high) / this.height) + 6);
    for (const [i, el] of this.rows) if (i < from || i >= to) { el.remove(); this.rows.delete(i); } else el.style.transform = place(i);
    for (let i = from; i < to; i++) {
      if (this.rows.has(i)) continue;
      this.want(Math.floor(i / PAGE));
      const el = h('div.vrow', { role: 'row', id: `${this.id()}-${i}`, 'aria-rowindex': String(i + 2), 'aria-selected': String(i === this.at), vars: { transform: place(i) },
        onclick: (e) => { this.choose(i); if (e.target.closest('a')) return; if (e.detail === 2 && this.item(i)) this.onopen(this.item(i)); } });
      this.fillRow(el, i);
      el.classList.toggle('on', i === this.at);
      this.rows.set(i, el);
      this.space.append(el);
    }
  }

  id() { return (this.name ||= `list${Math.random().toString(36).slice(2, 7)}`); }

  choose(i, quiet) {
    if (i < 0 || i >= this.total) return;
    const old = this.rows.get(this.at);
    if (old) { old.classList.remove('on'); old.setAttribute('aria-selected', 'false'); }
    this.at = i;
    const y = i * this.height, high = this.el.clientHeight - this.head.offsetHeight, ratio = this.ratio(), top = this.el.scrollTop * ratio;
    if (y < top) this.el.scrollTop = Math.floor(y / ratio);
    else if (y + this.height > top + high) this.el.scrollTop = Math.ceil((y + this.height - high) / ratio);
    this.draw();
    const el = this.rows.get(i);
    if (el) { el.classList.add('on'); el.setAttribute('aria-selected', 'true'); this.el.setAttribute('aria-activedescendant', el.id); }
    if (!quiet && this.item(i)) this.onchoose(this.item(i));
  }

  key(e) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[e.key];
    if (step) this.choose(Math.max(0, Math.min(this.total - 1, this.at + step)));
    else if (e.key === 'Home') this.choose(0);
    else if (e.key === 'End') this.choose(this.total - 1);
    else if (e.key === 'Enter' && this.at >= 0 && this.item(this.at)) this.onopen(this.item(this.at));
    else return;
    e.preventDefault();
  }

  leave() { this.turn++; this.size.disconnect(); }
}
