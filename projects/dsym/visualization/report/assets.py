"""Style and script of the page."""

from ..style import PALETTE

# PALETTE, lighter, for dark paper.
DARK_PALETTE = (
    '#4AA8E0',
    '#F0B030',
    '#2CC49A',
    '#E29BC2',
    '#F08040',
    '#8CCBF2',
    '#D6C832',
)


def series_variables(colors: tuple) -> str:
    """Declare the colours of lines and bars."""
    return ''.join(f'--series-{i}:{x};' for i, x in enumerate(colors))


STYLE = (
    ':root{color-scheme:light dark;'
    '--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",'
    'sans-serif;--ink:#1b1f24;--muted:#59636e;--paper:#fff;--card:#f6f7f9;'
    '--rule:#d5dae0;--accent:#0b5cad;--fill:11 92 173;--bar:.2;'
    + series_variables(PALETTE)
    + '}@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;'
    '--muted:#a3adb8;--paper:#14171b;--card:#1d2127;--rule:#3a414a;'
    '--accent:#7cb8f5;--fill:80 150 225;--bar:.4;'
    + series_variables(DARK_PALETTE)
    + '}}'
    + """
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:1rem;
 -webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
 font:1rem/1.55 var(--sans)}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;
 border-radius:2px}
.skip{position:absolute;left:-999rem}
.skip:focus{left:1rem;top:1rem;z-index:2;padding:.5rem 1rem;
 background:var(--paper);border:2px solid var(--accent)}
.layout{max-width:76rem;margin:0 auto;padding:0 1rem}
header{padding:1.75rem 0 .5rem}
h1{font-size:clamp(1.5rem,1.1rem + 2vw,2.2rem);line-height:1.2;margin:0;
 overflow-wrap:anywhere}
.kicker{margin:0 0 .25rem;color:var(--muted);font-size:.875rem}
h2{font-size:1.4rem;line-height:1.25;margin:0 0 .75rem;padding-top:1.5rem;
 border-top:1px solid var(--rule)}
h3{font-size:1.05rem;margin:1.75rem 0 .5rem;overflow-wrap:anywhere}
section{margin-top:2rem}
p{max-width:44rem;margin:.5rem 0;overflow-wrap:anywhere}
.lead{font-size:1.1rem}
.note{color:var(--muted);font-size:.9rem}
nav ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;
 gap:.1rem .25rem}
nav a{display:block;padding:.35rem .6rem;border-radius:.3rem;
 text-decoration:none;font-size:.9rem}
nav a:hover{background:var(--card);text-decoration:underline}
main{min-width:0}
@media (min-width:64rem){
 .layout{display:grid;grid-template-columns:13rem minmax(0,1fr);gap:0 2.5rem}
 header{grid-column:1/-1}
 nav{position:sticky;top:1rem;align-self:start;padding-top:2rem}
 nav ul{flex-direction:column}
}
dl{margin:0}
dd{margin:0;overflow-wrap:anywhere}
dt{color:var(--muted);font-size:.85rem}
.tiles{display:grid;gap:.75rem;margin:1rem 0;
 grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr))}
.tiles div{background:var(--card);border-radius:.5rem;padding:.7rem .9rem;
 display:flex;flex-direction:column;justify-content:space-between}
.tiles dd{font-size:1.7rem;line-height:1.25;font-weight:650;
 font-variant-numeric:tabular-nums}
.facts{display:grid;gap:.6rem 1.5rem;margin:1rem 0;
 grid-template-columns:repeat(auto-fill,minmax(min(15rem,100%),1fr))}
.panels{display:grid;gap:1.25rem;margin:1rem 0;
 grid-template-columns:repeat(auto-fit,minmax(min(20rem,100%),1fr))}
figure{margin:0;min-width:0}
figcaption{color:var(--muted);font-size:.875rem;line-height:1.4;
 margin-top:.4rem;overflow-wrap:anywhere}
.chart{max-width:34rem}
.chart>svg{display:block;width:100%;height:auto}
.chart>svg *{stroke-linejoin:round;stroke-linecap:butt}
.chart>svg text{fill:var(--ink)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;
 margin:.75rem 0;padding:0;font-size:.9rem}
.legend li{display:flex;align-items:center;gap:.4rem;
 overflow-wrap:anywhere}
.legend svg{flex:none;fill:none}
.swatch{flex:none;width:.9rem;height:.9rem;border-radius:.15rem}
.scroll{overflow-x:auto;margin:1rem 0;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;line-height:1.35;
 font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);padding:0 0 .4rem;
 font-size:.875rem}
caption span{display:block;position:sticky;left:0;width:max-content;
 max-width:min(44rem,100vw - 3rem)}
tbody th,tfoot th{position:sticky;left:0;z-index:1;
 background:var(--paper)}
th,td{padding:.4rem .5rem;text-align:left;border-bottom:1px solid var(--rule);
 vertical-align:middle}
th{font-weight:600}
thead th{vertical-align:bottom;border-bottom:2px solid var(--rule);
 padding:.1rem .2rem}
th button{all:unset;cursor:pointer;padding:.3rem .5rem;display:inline-block}
th button:focus-visible{outline:3px solid var(--accent)}
th button:hover{text-decoration:underline}
th button::after{content:"\\2195";color:var(--muted);font-weight:400;
 margin-left:.3em;opacity:.7}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
tfoot th,tfoot td{border-top:2px solid var(--rule);border-bottom:0;
 font-weight:600}
.number{text-align:right}
td.number{white-space:nowrap}
.bar{min-width:6.5rem;
 background:linear-gradient(rgb(var(--fill)/var(--bar)) 0 0)
 left center/calc(.94*var(--share)) 72% no-repeat}
.matrix th,.matrix td{text-align:center;border:1px solid var(--rule);
 padding:.45rem .55rem}
.matrix th[scope=row]{text-align:left}
.matrix td{background:rgb(var(--fill)/var(--share))}
.matrix td.right{font-weight:700;outline:2px solid var(--accent);
 outline-offset:-2px}
.gallery{display:grid;gap:1.5rem 1.25rem;margin:1rem 0;
 grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr))}
.both{display:grid;grid-template-columns:1fr 1fr;gap:.5rem}
.flat .both{grid-template-columns:1fr}
.picture>span{font-size:.85rem;font-weight:600}
.picture>div{position:relative}
.picture img{display:block;width:100%;height:auto;border-radius:.2rem}
.picture svg{position:absolute;inset:0;width:100%;height:100%;
 overflow:hidden}
.picture rect{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
.picture .halo{stroke:#000;stroke-opacity:.55;stroke-width:4}
.picture text{fill:#fff;stroke:#000;stroke-width:.22em;paint-order:stroke;
 font-family:var(--sans);font-weight:600}
details{margin:1rem 0;border:1px solid var(--rule);border-radius:.4rem;
 padding:.2rem .9rem}
summary{cursor:pointer;padding:.45rem 0;font-weight:600;
 overflow-wrap:anywhere}
code{font-size:.9em;background:var(--card);padding:.1em .3em;
 border-radius:.2em;overflow-wrap:anywhere}
footer{margin:3rem 0 2rem;padding-top:1rem;border-top:1px solid var(--rule);
 color:var(--muted);font-size:.85rem}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{nav,.skip{display:none}.layout{display:block;max-width:none}
 *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
 .scroll{overflow:visible}table{font-size:.55rem}.bar{min-width:0}
 th,td{padding:.2rem .15rem}th{overflow-wrap:anywhere}
 td.number{white-space:normal}
 figure,tr{break-inside:avoid}th button::after{content:none}}
"""
)

# Sorts the rows below a heading that is clicked; the last row stays last.
# Paper cannot be clicked: what is folded is printed open.
SCRIPT = """
let folded = [];
addEventListener('beforeprint', () => {
  folded = [...document.querySelectorAll('details:not([open])')];
  for (const part of folded) part.open = true;
});
addEventListener('afterprint', () => {
  for (const part of folded) part.open = false;
});
for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const head = button.parentElement, table = head.closest('table');
    const column = [...head.parentElement.children].indexOf(head);
    const text = !('value' in table.tBodies[0].rows[0].cells[column].dataset);
    const [first, second] = text ? ['ascending', 'descending'] :
      ['descending', 'ascending'];
    const order = head.getAttribute('aria-sort') === first ? second : first;
    for (const other of table.tHead.rows[0].cells)
      other.setAttribute('aria-sort', 'none');
    head.setAttribute('aria-sort', order);
    const sign = order === 'ascending' ? 1 : -1, body = table.tBodies[0];
    const compare = (a, b) => {
      const x = a.cells[column], y = b.cells[column];
      return 'value' in x.dataset ? x.dataset.value - y.dataset.value :
        x.textContent.localeCompare(y.textContent);
    };
    body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
  });
}
"""
