/* The style of the audit page: the colours of the feature page, green and red only beside words. */
#include "lab/audit_html_int.h"

const char *const sd_audit__style[] = {
    ":root{--bg:#faf8f4;--card:#fffdf9;--ink:#23211d;--soft:#6b665c;--faint:#7b7468;--line:#e6e0d5;--a:#1f5f8b;--b:#b4530a;--ok:#2f6b3a;--bad:#a2332a;--mid:#8a6412;"
    "--serif:ui-serif,'Iowan Old Style','Palatino Linotype',Palatino,'Source Serif 4',Georgia,serif;--sans:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif;"
    "--mono:ui-monospace,'SF Mono','Cascadia Mono','DejaVu Sans Mono',Menlo,monospace}",
    "@media(prefers-color-scheme:dark){:root{--bg:#171614;--card:#1f1d1a;--ink:#e9e4da;--soft:#a59e90;--faint:#968e80;--line:#35312b;--a:#7db7e0;--b:#f0a35e;--ok:#8fce9b;--bad:#ef9a8f;--mid:#e2c06e}}",
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 var(--sans);font-variant-numeric:tabular-nums}",
    "header,main,footer{max-width:1080px;margin:0 auto;padding:0 24px}header{padding-top:52px;padding-bottom:20px}",
    ".kicker{margin:0 0 10px;font-size:13px;letter-spacing:.12em;text-transform:uppercase;color:var(--faint);font-weight:600}",
    "h1{font:500 clamp(26px,4vw,42px)/1.15 var(--serif);letter-spacing:-.015em;margin:0 0 16px;max-width:34ch;overflow-wrap:anywhere}h1 em{font-style:normal;color:var(--faint);padding:0 .15em}",
    "h2{font:500 27px/1.2 var(--serif);margin:38px 0 6px}h2+p{margin-top:0}p.say{font:400 19px/1.55 var(--serif);max-width:68ch;margin:0 0 18px}p.note{color:var(--soft);font-size:14.5px;max-width:80ch}",
    ".verdict{display:inline-block;font-weight:650;font-size:15px;padding:5px 13px;border-radius:99px;border:1.5px solid currentColor;margin:0 10px 10px 0}.pass{color:var(--ok)}.fail{color:var(--bad)}.inconclusive{color:var(--mid)}",
    ".card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:18px 24px 16px;margin:14px 0 22px;overflow-x:auto}",
    "table{border-collapse:collapse;width:100%;font-size:15px}th{text-align:left;font:600 11.5px var(--sans);letter-spacing:.05em;text-transform:uppercase;color:var(--faint);padding:6px 14px 6px 0;border-bottom:1px solid var(--line)}",
    "td{padding:7px 14px 7px 0;border-bottom:1px solid var(--line);vertical-align:baseline;overflow-wrap:anywhere}tr:last-child td{border-bottom:0}td.n,th.n{text-align:right}td.n{overflow-wrap:normal}.a{color:var(--a)}.b{color:var(--b)}",
    "svg{display:block;width:100%;height:auto;max-width:1000px}svg text{font:13px var(--sans);fill:var(--ink)}svg .q{fill:var(--soft)}svg .grid{stroke:var(--line)}svg .zero{stroke:var(--faint);stroke-dasharray:3 3}",
    ".la{stroke:var(--a);fill:none;stroke-width:2.2}.lb{stroke:var(--b);fill:none;stroke-width:2.2}.bar{stroke:var(--ink);stroke-width:2}.dot{fill:var(--b)}",
    ".key span{margin-right:22px;font-size:14px}.key i{display:inline-block;width:22px;height:0;border-top:3px solid;vertical-align:middle;margin-right:7px}",
    "code{font:13px/1.5 var(--mono)}pre{margin:8px 0 0;white-space:pre-wrap;overflow-wrap:anywhere;font:12.5px/1.5 var(--mono);color:var(--soft)}",
    ".blur{filter:blur(5px);transition:filter .15s;cursor:help}.blur:hover,.blur:focus{filter:none}details summary{cursor:pointer;color:var(--soft)}",
    "footer{padding-top:20px;padding-bottom:60px;color:var(--soft);font-size:14.5px}footer p{max-width:84ch}a:focus-visible,summary:focus-visible,.blur:focus-visible{outline:2px solid var(--b);outline-offset:2px}",
    "@media print{.card{break-inside:avoid}body{background:#fff}}",
    NULL};
