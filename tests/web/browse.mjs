// What the tests of the page share: a browser, a line a test as tools/run-tests counts them, a page that says what went wrong in it, its check.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';

const web = join(dirname(fileURLToPath(import.meta.url)), '../../web/node_modules');
const { chromium } = createRequire(import.meta.url)(join(web, 'playwright-core'));
const axe = readFileSync(join(web, 'axe-core/axe.min.js'), 'utf8');
const [, , executablePath, base] = process.argv;
export const WIDTHS = [[1440, 900], [820, 1100], [360, 740]];

export const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader'] });
let failed = 0;
export const said = [];
const only = process.env.ONLY && new RegExp(process.env.ONLY);
export async function test(name, fn) {
  if (only && !only.test(name)) return;
  said.length = 0;
  try {
    await fn();
    if (said.length) throw new Error(said.join('\n'));
    console.log(`[       OK ] ${name}`);
  } catch (e) {
    if (e.skip) {
      console.log(`skip: ${name}: ${e.message}\n[  SKIPPED ] ${name}`);
      return;
    }
    failed++;
    console.log(String(e.stack || e).split('\n').slice(0, 8).join('\n'));
    console.log(`[  FAILED  ] ${name}`);
  }
}
export const must = (ok, what) => { if (!ok) throw new Error(what); };

export async function open(hash, { width = 1440, height = 900, colorScheme = 'light', from = base, first = 'main h1', context } = {}) {
  const c = context || (await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: 'reduce', permissions: ['clipboard-read', 'clipboard-write'] }));
  const page = await c.newPage();
  page.setDefaultTimeout(Number(process.env.SONDE_WEB_TIMEOUT || 60000)); // milliseconds; more where much else runs
  const origin = new URL(from).origin;
  page.on('request', (r) => { const u = new URL(r.url()); if (u.origin !== origin && !/^(data|blob):$/.test(u.protocol)) said.push(`a request left the origin: ${r.url()}`); });
  page.on('console', (m) => { if ((m.type() === 'error' || m.type() === 'warning') && !/GL Driver Message/.test(m.text())) said.push(`console: ${m.text()}`); });
  page.on('pageerror', (e) => said.push(`error: ${e.message}`));
  page.on('dialog', (d) => { said.push(`a dialog: ${d.message()}`); d.dismiss(); });
  await page.goto(from + hash);
  await page.waitForSelector(first);
  return page;
}
export const close = (page) => page.context().close();

// Serious findings of axe, and words wider than the page.
export async function check(page, name) {
  await page.evaluate(axe + ';0').catch(() => page.addScriptTag({ content: axe }));
  const found = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.join(' ')).join(', ')}`));
  must(found.length === 0, `axe on ${name}: ${found.join('; ')}`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  must(over <= 0, `${name} is ${over} px wider than the window`);
}

// Intervals of animation frames while fn runs, in milliseconds.
export async function frames(page, fn) {
  await page.evaluate(() => { window.intervals = []; let last = performance.now(); const tick = (t) => { window.intervals.push(t - last); last = t; window.ticking = requestAnimationFrame(tick); }; window.ticking = requestAnimationFrame(tick); });
  await fn();
  const t = await page.evaluate(() => { cancelAnimationFrame(window.ticking); return window.intervals.slice(2).sort((a, b) => a - b); });
  return { n: t.length, median: t[t.length >> 1], p90: t[Math.floor(t.length * 0.9)] };
}

export async function end() {
  await browser.close();
  process.exit(failed ? 1 : 0);
}
