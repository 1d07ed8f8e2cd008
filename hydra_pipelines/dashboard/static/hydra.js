"use strict";
// The dashboard's own script: times in the reader's zone, refreshes while the page is seen, one
// stream a page, a mark when what is shown is old, and the equity curve. No inline code, no eval.
(() => {
  const live = () => document.querySelector("#live[hx-get]");
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const parts = new Intl.DateTimeFormat("en-CA", {
    year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  });
  const local = (date) => {
    const p = Object.fromEntries(parts.formatToParts(date).map((x) => [x.type, x.value]));
    return [`${p.year}-${p.month}-${p.day}`, `${p.hour}:${p.minute}:${p.second}`];
  };

  function localise(root) {
    for (const el of root.querySelectorAll("time[datetime]")) {
      const at = new Date(el.getAttribute("datetime"));
      if (Number.isNaN(at.getTime())) continue;
      const [day, time] = local(at);
      const text = el.classList.contains("clock") ? time : `${day} ${time}`;
      if (el.textContent !== text) el.textContent = text;
      el.title = `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
    }
    const name = document.getElementById("zone");
    if (name) name.textContent = zone;
  }

  // One stream a page: closed while the page is hidden, and resumed after from the last event.
  class QuietSource extends EventTarget {
    constructor(url) {
      super();
      this.url = url;
      this.lastId = "";
      this.over = false;
      this.names = new Set();
      this.onerror = this.onopen = null;
      this.follow = () => (document.hidden ? this.shut() : this.open());
      this.leave = () => this.shut();
      document.addEventListener("visibilitychange", this.follow);
      window.addEventListener("pagehide", this.leave);
      window.addEventListener("pageshow", this.follow);
      this.follow();
    }
    get readyState() { return this.over ? 2 : this.inner ? this.inner.readyState : 0; }
    open() {
      if (this.inner || this.over) return;
      const join = this.url.includes("?") ? "&" : "?";
      this.inner = new EventSource(this.url + (this.lastId ? `${join}last_id=${encodeURIComponent(this.lastId)}` : ""));
      this.inner.onopen = (e) => this.onopen && this.onopen(e);
      this.inner.onerror = () => {
        // The browser tries again by itself, and names the last event.
        if (this.inner && this.inner.readyState === 2) { this.shut(); setTimeout(this.follow, 3000); }
      };
      for (const name of this.names) this.hear(name);
    }
    shut() { if (this.inner) { this.inner.close(); this.inner = null; } }
    hear(name) {
      this.inner.addEventListener(name, (e) => {
        if (e.lastEventId) this.lastId = e.lastEventId;
        this.dispatchEvent(new MessageEvent(name, { data: e.data, lastEventId: e.lastEventId }));
      });
    }
    addEventListener(name, listener, options) {
      super.addEventListener(name, listener, options);
      if (!this.names.has(name)) { this.names.add(name); if (this.inner) this.hear(name); }
    }
    close() {
      this.over = true;
      this.shut();
      document.removeEventListener("visibilitychange", this.follow);
      window.removeEventListener("pagehide", this.leave);
      window.removeEventListener("pageshow", this.follow);
    }
  }
  if (window.htmx) htmx.createEventSource = (url) => new QuietSource(url);

  // Refreshes, and whether they come.
  let looked = Date.now();
  let next = 0;
  const every = () => 1000 * Number((live() && live().dataset.refresh) || 60);
  const plan = () => { next = Date.now() + every(); };
  function mark() {
    const el = document.getElementById("stale");
    if (!el || !live()) return;
    const age = Date.now() - looked;
    const old = age > 2.5 * every() + 5000;
    el.hidden = !old;
    document.documentElement.classList.toggle("old", old);
    if (old) el.textContent = `Not refreshed for ${Math.round(age / 1000)} s: the dashboard does not answer`;
  }
  function tick() {
    mark();
    if (!document.hidden && Date.now() >= next && live()) { plan(); htmx.trigger(live(), "refresh"); }
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) next = Math.min(next, Date.now() + 200); });
  document.addEventListener("htmx:afterSwap", (e) => {
    if (e.detail.target && e.detail.target.id === "live") {
      looked = Date.now();
      plan();
      localise(e.detail.target);
      mark();
      charts();
    }
  });
  // What a reader has opened stays open: the server does not know of it.
  document.addEventListener("htmx:configRequest", (e) => { e.detail.headers["X-Requested-With"] = "hydra"; });
  if (window.Idiomorph) {
    const before = Idiomorph.defaults.callbacks.beforeAttributeUpdated;
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node, kind) => {
      if (name === "open" && node.tagName === "DETAILS") return false;
      return before(name, node, kind);
    };
  }

  // The equity curve.
  const drawn = new Map();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const at = (session) => Date.parse(`${session}T00:00:00Z`) / 1000;
  const money = (v) => (v == null ? "–" : v.toLocaleString("en-US", { maximumFractionDigits: 0 }));
  async function charts() {
    if (!window.uPlot) return;
    for (const el of document.querySelectorAll("[data-chart]")) {
      let answer;
      try {
        answer = await fetch(el.dataset.chart, { credentials: "same-origin" });
        if (!answer.ok) continue;
        answer = (await answer.json()).data;
      } catch { continue; }
      if (answer && answer.curve && answer.curve.length) draw(el, answer);
    }
  }
  function draw(el, data) {
    const text = JSON.stringify(data);
    const before = drawn.get(el);
    if (before && before.text === text && before.width === el.clientWidth) return;
    if (before) before.plots.forEach((p) => p.destroy());
    el.replaceChildren();
    const xs = data.curve.map((r) => at(r.session));
    const equity = data.curve.map((r) => Number(r.equity));
    const drawdown = data.curve.map((r) => -100 * r.drawdown);
    const growth = new Map(data.signals.map((r) => [r.session, r.growth]));
    const signals = data.curve.map((r) => {
      const g = growth.get(r.session);
      return g === undefined ? null : g * equity[0];
    });
    const width = el.clientWidth - 20;
    const short = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "2-digit", timeZone: "UTC" });
    const days = [1, 2, 7, 14, 30, 61, 91, 182, 365, 730].map((n) => n * 86400);
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const marks = {
      hooks: {
        draw: [(u) => {
          const { ctx } = u;
          ctx.save();
          ctx.font = `${11 * devicePixelRatio}px system-ui`;
          data.markers.forEach((m) => {
            const x = u.valToPos(at(m.session), "x", true);
            if (!Number.isFinite(x)) return;
            const bad = m.kind === "breaker_tripped";
            ctx.strokeStyle = ctx.fillStyle = colour(bad ? "--bad" : "--quiet");
            ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
            ctx.beginPath(); ctx.moveTo(x, u.bbox.top); ctx.lineTo(x, u.bbox.top + u.bbox.height); ctx.stroke();
            const letter = { breaker_tripped: "B", model_promoted: "P", model_rolled_back: "R", deploy: "D" }[m.kind] || "S";
            ctx.fillText(letter, x + 3 * devicePixelRatio, u.bbox.top + 10 * devicePixelRatio);
          });
          ctx.restore();
        }],
      },
    };
    const date = (u, v) => (v == null ? "–" : new Date(v * 1000).toISOString().slice(0, 10));
    const utc = (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC");
    const cursor = { sync: { key: "equity" }, drag: { x: false, y: false } };
    const top = new uPlot({
      width, height: 210, tzDate: utc, cursor, plugins: [marks],
      scales: { x: { time: true } },
      padding: [12, 16, 0, 0],
      axes: [{ ...axis, space: 90, incrs: days, values: (u, v) => v.map((x) => short.format(new Date(x * 1000))) }, { ...axis, size: 76, values: (u, v) => v.map(money) }],
      series: [
        { label: "Session", value: date },
        { label: "Equity, USD", stroke: colour("--link"), width: 2, value: (u, v) => money(v), points: { show: xs.length < 3 } },
        { label: "Signals without costs, USD", stroke: colour("--quiet"), dash: [5, 4], width: 1.5, value: (u, v) => money(v), spanGaps: true, points: { show: false } },
      ],
    }, [xs, equity, signals], el);
    const low = new uPlot({
      width, height: 110, tzDate: utc, cursor,
      scales: { x: { time: true } },
      padding: [8, 16, 4, 0],
      axes: [{ ...axis, show: false, incrs: days }, { ...axis, size: 76, values: (u, v) => v.map((x) => `${x.toFixed(1)} %`) }],
      series: [
        { label: "Session", value: date },
        { label: "Drawdown", stroke: colour("--bad"), fill: colour("--bad-bg"), width: 1, value: (u, v) => (v == null ? "–" : `${v.toFixed(2)} %`), points: { show: xs.length < 3 } },
      ],
    }, [xs, drawdown], el);
    if (data.markers.length) {
      const key = document.createElement("p");
      key.className = "small quiet";
      key.textContent = "Marks: P promoted, R rolled back, D another version trades, B breaker tripped, S setting changed.";
      el.append(key);
    }
    drawn.set(el, { plots: [top, low], text, width: el.clientWidth });
  }
  const redraw = () => { for (const el of drawn.keys()) drawn.get(el).text = ""; charts(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(charts, 200); });

  // The menu is closed on a narrow screen until it is asked for.
  const menu = document.querySelector(".menu");
  const narrow = matchMedia("(max-width: 62rem)");
  const fold = () => { if (menu) menu.open = !narrow.matches; };
  narrow.addEventListener("change", fold);

  addEventListener("DOMContentLoaded", () => {
    fold();
    localise(document);
    plan();
    charts();
    setInterval(tick, 1000);
  });
})();
