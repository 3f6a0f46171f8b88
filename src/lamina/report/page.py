"""The page around the sections: one file, no network, no scripts; light and dark, narrow and wide, screen and paper."""

from __future__ import annotations

from html import escape

CSS = """
:root{color-scheme:light dark;--ink:#1d2530;--soft:#5d6876;--line:#e3e7ec;--paper:#fff;--page:#f5f6f8;--blue:#2f6db5;
--good:#2c7a51;--bad:#b23b46;--amber:#fdf5e4;--amber-line:#d9a640;--for:224 120 20;--against:47 109 181}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ed;--soft:#9aa5b3;--line:#323a45;--paper:#1b2028;--page:#13171d;--blue:#7fb0ea;
--good:#6cc698;--bad:#ee8b93;--amber:#2c2618;--amber-line:#a98232;--for:240 150 60;--against:110 165 235}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1rem 4rem}
main.two{max-width:96rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem;letter-spacing:-.015em}
h2{font-size:1.25rem;margin:0 0 .9rem;letter-spacing:-.01em}
h3{font-size:.95rem;margin:1.2rem 0 .4rem;color:var(--soft);font-weight:600}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:1.6rem 1.8rem;margin:1.1rem 0}
p{margin:.45rem 0;max-width:44rem}
.lead{font-size:1.15rem;line-height:1.5}
.quiet{color:var(--soft);font-size:.85rem}
.gate{border-left:4px solid var(--good)}.gate.failed{border-left-color:var(--bad)}
.gate ul{list-style:none;padding:0;margin:.4rem 0}.holds{color:var(--good)}.fails{color:var(--bad);font-weight:600}
.warning{background:var(--amber);border-left:3px solid var(--amber-line);padding:.55rem .9rem;border-radius:0 6px 6px 0}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.34rem .8rem .34rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:normal}
th{font-weight:600;color:var(--soft)}.facts td{overflow-wrap:anywhere}
.number{text-align:right}
.heat{text-align:center;padding:.34rem .5rem;background:color-mix(in srgb,var(--blue) calc(var(--heat)*65%),transparent)}
.interval{width:120px;height:12px;display:block;margin-top:.3rem}.interval .axis{stroke:var(--line);stroke-width:2}
.interval .range{stroke:var(--blue);stroke-width:4;stroke-linecap:round;opacity:.45}.interval circle{fill:var(--blue)}
.shaded{white-space:pre-wrap;line-height:1.9;max-width:52rem;margin:.1rem 0 .9rem}
.for,.against{--w:.6;padding:.05em .12em;border-radius:3px;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.for{background:rgb(var(--for)/calc(var(--w)*.55));border-bottom:2px solid rgb(var(--for)/calc(.25 + var(--w)*.75))}
.against{background:rgb(var(--against)/calc(var(--w)*.5));border-bottom:2px dotted rgb(var(--against)/calc(.25 + var(--w)*.75))}
details{margin:.7rem 0}summary{cursor:pointer;color:var(--blue);font-size:.9rem}
figure{margin:1rem 0;max-width:100%}figure img{max-width:100%;height:auto;background:#fff;border-radius:8px;padding:6px}
figcaption{color:var(--soft);font-size:.85rem}
.columns{display:grid;gap:1.8rem}
@media(min-width:60rem){.two .columns{grid-template-columns:1fr 1fr}.columns>div{min-width:0}}
.columns>div{min-width:0}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,monospace}
@media(max-width:32rem){main{padding:1.2rem .6rem 2rem}section{padding:1.1rem 1rem;border-radius:8px}h1{font-size:1.5rem}}
@media print{:root{--paper:#fff;--page:#fff;--ink:#000;--soft:#444;--line:#ccc}body{font-size:11pt}
section{border:0;padding:0;break-inside:auto}figure,tr,h2{break-inside:avoid}h2{break-after:avoid}}
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Whatever might have slipped in: the browser loads nothing and runs nothing."""


def page(title: str, about: str, sections: list[str], two: bool = False) -> str:
    """The whole file. `sections` are HTML already; the rest is escaped here."""
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>"
        f"<body><main{' class=two' if two else ''}><h1>{escape(title)}</h1><p class=quiet>{escape(about)}</p>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def columns(several: list[str], names: list[str]) -> str:
    """The same section of each run, side by side; alone, as it is."""
    if len(several) == 1:
        return several[0]
    return (
        "<div class=columns>"
        + "".join(f"<div><h3>{escape(n)}</h3>{s}</div>" for n, s in zip(names, several, strict=True))
        + "</div>"
    )
