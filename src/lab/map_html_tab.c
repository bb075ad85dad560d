/* The style and script of the map's page, line by line. Colour is the cluster (hues a golden angle apart), size how often a feature fires. */
#include "lab/report_int.h"

extern const char *const sd_map__style[], *const sd_map__script[];

const char *const sd_map__style[] = {
    ":root{--bg:#faf8f4;--ink:#23211d;--soft:#6b665c;--line:#e6e0d5;--card:#fffdf9ee;--accent:#b4530a}",
    "@media(prefers-color-scheme:dark){:root{--bg:#171614;--ink:#e9e4da;--soft:#a59e90;--line:#35312b;--card:#1f1d1aee;--accent:#f0a35e}}",
    "*{box-sizing:border-box}html,body{margin:0;height:100%;overflow:hidden;background:var(--bg);color:var(--ink);font:15px/1.45 ui-sans-serif,system-ui,'Segoe UI',Roboto,sans-serif}",
    "canvas{position:fixed;inset:0;width:100%;height:100%;cursor:grab;touch-action:none}canvas:active{cursor:grabbing}canvas:focus-visible{outline:2px solid var(--accent);outline-offset:-2px}",
    "header,footer,#tip{position:fixed;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px}",
    "header{left:14px;top:14px;width:min(300px,calc(100vw - 28px))}h1{font:500 21px/1.2 ui-serif,Georgia,serif;margin:0 0 4px;overflow-wrap:anywhere}p{margin:0 0 8px;color:var(--soft);font-size:13.5px}",
    "label{position:absolute;clip-path:inset(50%)}input{width:100%;font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);border-radius:6px;padding:6px 9px}#n{margin:6px 0 0;min-height:1.2em}",
    "footer{left:14px;bottom:14px;right:14px;max-width:720px;font-size:12.5px;color:var(--soft);padding:8px 14px}",
    "#tip{pointer-events:none;max-width:320px;display:grid;gap:2px;font-size:13px}#tip[hidden]{display:none}#tip b{font:500 17px/1.25 ui-serif,Georgia,serif;overflow-wrap:anywhere}#tip span{color:var(--soft);overflow-wrap:anywhere}",
    NULL};

const char *const sd_map__script[] = {
    "'use strict';(function(){var d=document,D=JSON.parse(d.getElementById('data').textContent),P=D.points,C=D.clusters,cv=d.getElementById('map'),g=cv.getContext('2d');",
    "var tip=d.getElementById('tip'),q=d.getElementById('q'),nn=d.getElementById('n'),k=1,ox=0,oy=0,W=0,H=0,r=1,hot=-1,hit=null,asked=false;",
    "var dark=matchMedia('(prefers-color-scheme: dark)');function hue(c){return(c*137.508)%360}",
    /* centres of the clusters, for their words */
    "var mid=C.map(function(){return[0,0,0]});P.forEach(function(p){var m=mid[p[3]];m[0]+=p[1];m[1]+=p[2];m[2]++});",
    "function fit(){r=devicePixelRatio||1;W=innerWidth;H=innerHeight;cv.width=W*r;cv.height=H*r;draw()}",
    "function home(){k=Math.min(innerWidth,innerHeight)*.92/65535;ox=(innerWidth-65535*k)/2;oy=(innerHeight-65535*k)/2}",
    "function draw(){if(asked)return;asked=true;requestAnimationFrame(function(){asked=false;paint()})}",
    "function paint(){var base=Math.min(W,H)*.92/65535,z=k/base,dk=dark.matches,i,p,x,y,s;g.setTransform(r,0,0,r,0,0);g.clearRect(0,0,W,H);var by={};",
    "for(i=0;i<P.length;i++){p=P[i];x=p[1]*k+ox;y=p[2]*k+oy;if(x<-9||y<-9||x>W+9||y>H+9)continue;var on=!hit||hit[i];s=(p[4]?.7+.11*p[4]:.6)*Math.min(4,Math.sqrt(z));",
    "g.globalAlpha=on?(p[4]?.82:.3):.07;g.fillStyle='hsl('+hue(p[3])+(dk?' 62% 63%)':' 60% 43%)');if(hit&&on)s+=1.6;if(s<1.6)g.fillRect(x-s,y-s,2*s,2*s);else{g.beginPath();g.arc(x,y,s,0,7);g.fill()}}",
    "g.globalAlpha=1;g.textAlign='center';g.textBaseline='middle';g.font='600 13px system-ui,sans-serif';var boxes=[],ink=dk?'#fff':'#1c1a17',halo=dk?'#171614':'#faf8f4';",
    "for(i=0;i<C.length&&!hit;i++){if(!mid[i][2]||!C[i])continue;x=mid[i][0]/mid[i][2]*k+ox;y=mid[i][1]/mid[i][2]*k+oy;put(C[i].split(', ').slice(0,2).join(', '),x,y,boxes,ink,halo)}",
    "if(z>5){g.font='12px system-ui,sans-serif';for(i=0;i<P.length;i++){p=P[i];x=p[1]*k+ox;y=p[2]*k+oy-11;if(x<0||y<0||x>W||y>H||!p[5]||(hit&&!hit[i]))continue;put(p[5].slice(0,28),x,y,boxes,ink,halo)}}",
    "if(hot>=0){p=P[hot];g.strokeStyle=ink;g.lineWidth=2;g.beginPath();g.arc(p[1]*k+ox,p[2]*k+oy,7,0,7);g.stroke()}}",
    /* a text where no other one stands */
    "function put(t,x,y,boxes,ink,halo){var w=g.measureText(t).width/2+5;for(var j=0;j<boxes.length;j++){var b=boxes[j];if(Math.abs(b[0]-x)<b[2]+w&&Math.abs(b[1]-y)<17)return}boxes.push([x,y,w]);g.lineWidth=3.5;g.lineJoin='round';g.strokeStyle=halo;g.strokeText(t,x,y);g.fillStyle=ink;g.fillText(t,x,y)}",
    "function near(mx,my){var b=-1,bd=144,i,dx,dy;for(i=0;i<P.length;i++){if(hit&&!hit[i])continue;dx=P[i][1]*k+ox-mx;dy=P[i][2]*k+oy-my;dx=dx*dx+dy*dy;if(dx<bd){bd=dx;b=i}}return b}",
    "function show(i,x,y){hot=i;tip.hidden=i<0;if(i>=0){var p=P[i];d.getElementById('tl').textContent=p[5]||(p[4]?'(no words at its peaks)':'(silent on this text)');d.getElementById('ti').textContent='feature '+p[0];",
    "d.getElementById('tt').textContent=p[6]?'promotes '+p[6]:'';d.getElementById('tc').textContent=C[p[3]]?'cluster: '+C[p[3]]:'';tip.style.left=Math.max(8,Math.min(W-tip.offsetWidth-8,x+14))+'px';tip.style.top=Math.max(8,Math.min(H-tip.offsetHeight-8,y+14))+'px'}draw()}",
    "function zoom(f,x,y){var was=k,base=Math.min(W,H)*.92/65535;k=Math.max(base*.5,Math.min(base*400,k*f));f=k/was;ox=x-(x-ox)*f;oy=y-(y-oy)*f;draw()}",
    "var at={},n=0,gap=0;cv.addEventListener('pointerdown',function(e){cv.setPointerCapture(e.pointerId);at[e.pointerId]=[e.clientX,e.clientY];n=Object.keys(at).length;gap=0});",
    "function up(e){delete at[e.pointerId];n=Object.keys(at).length;gap=0}cv.addEventListener('pointerup',up);cv.addEventListener('pointercancel',up);",
    "cv.addEventListener('pointermove',function(e){var a=at[e.pointerId];if(!a){show(near(e.clientX,e.clientY),e.clientX,e.clientY);return}if(n===1){ox+=e.clientX-a[0];oy+=e.clientY-a[1];draw()}at[e.pointerId]=[e.clientX,e.clientY];",
    "if(n===2){var v=Object.values(at),x=v[0][0]-v[1][0],y=v[0][1]-v[1][1],l=Math.sqrt(x*x+y*y);if(gap)zoom(l/gap,(v[0][0]+v[1][0])/2,(v[0][1]+v[1][1])/2);gap=l}});",
    "cv.addEventListener('pointerleave',function(){show(-1)});cv.addEventListener('wheel',function(e){e.preventDefault();zoom(Math.exp(-e.deltaY*.0015),e.clientX,e.clientY)},{passive:false});",
    "cv.addEventListener('keydown',function(e){var s={ArrowLeft:[60,0],ArrowRight:[-60,0],ArrowUp:[0,60],ArrowDown:[0,-60]}[e.key];if(s){ox+=s[0];oy+=s[1];draw()}else if(e.key==='+'||e.key==='=')zoom(1.3,W/2,H/2);else if(e.key==='-')zoom(1/1.3,W/2,H/2);else if(e.key==='0'){home();draw()}else return;e.preventDefault()});",
    "q.addEventListener('input',function(){var t=q.value.trim().toLowerCase(),c=0;hit=t?P.map(function(p){var y=String(p[0])===t||(p[5]+' '+p[6]).toLowerCase().indexOf(t)>=0;c+=y;return y}):null;nn.textContent=t?c+' of '+P.length+' features':'';draw()});",
    "addEventListener('resize',fit);dark.addEventListener('change',draw);home();fit()})();",
    NULL};
