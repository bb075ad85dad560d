// web/ -> web/dist: one script, one style, the shell, the licences of what is in them. The same input gives the same bytes.
import { build } from 'esbuild';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] || join(here, 'dist');
mkdirSync(out, { recursive: true });
const common = { bundle: true, minify: true, legalComments: 'none', target: ['es2022'], absWorkingDir: here, logLevel: 'warning', metafile: true, charset: 'utf8' };
const js = await build({ ...common, entryPoints: ['src/main.js'], format: 'esm', outfile: join(out, 'app.js'), alias: { regl: './src/regl.js' } });
await build({ ...common, entryPoints: ['src/style.css'], outfile: join(out, 'app.css') });
for (const file of ['index.html', 'icon.svg']) copyFileSync(join(here, file), join(out, file));

// A package whose code is in the bundle stands here with its licence; one without a licence file is an error.
const packages = new Set(['uplot', 'kdbush']); // kdbush: inside regl-scatterplot, by its sources
for (const file of Object.keys(js.metafile.inputs)) {
  const m = file.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
  if (m) packages.add(m[1]);
}
// Code that others hold without being their dependency.
const GIVEN = JSON.parse(readFileSync(join(here, 'licences.json'), 'utf8'));
// Packages hold others in their own bundles: their dependencies count as well.
for (const name of packages)
  if (!GIVEN[name]) for (const d of Object.keys(JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8')).dependencies || {}))
    if (existsSync(join(here, 'node_modules', d))) packages.add(d);
let text = 'The page of sonde is under the Apache License 2.0 (LICENSE). Its bundle holds code of these packages:\n';
for (const name of [...packages].sort()) {
  const dir = join(here, 'node_modules', name);
  if (GIVEN[name]) {
    text += `\n${'-'.repeat(80)}\n${GIVEN[name].trim()}\n`;
    continue;
  }
  const p = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const file = readdirSync(dir).find((f) => /^licen[cs]e/i.test(f));
  if (!file) throw new Error(`${name} has no licence file: add it to web/licences.json`);
  text += `\n${'-'.repeat(80)}\n${name} ${p.version} (${p.license})\n\n${readFileSync(join(dir, file), 'utf8').trim()}\n`;
}
writeFileSync(join(out, 'licences.txt'), text);
