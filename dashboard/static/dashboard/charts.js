// Draws each chart from the JSON block that its box names. Colours stand there as token names ("--mv-new").
// Only pages with a chart load this file and Plotly.
(function () {
  "use strict";
  var root = document.documentElement;
  var config = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false, showTips: false };

  function css(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }
  function resolve(value) {
    if (typeof value === "string" && value.slice(0, 2) === "--") return css(value);
    if (Array.isArray(value)) return value.map(resolve);
    if (value && typeof value === "object") {
      var out = {};
      Object.keys(value).forEach(function (key) { out[key] = resolve(value[key]); });
      return out;
    }
    return value;
  }
  function merge(a, b) {
    Object.keys(b || {}).forEach(function (key) {
      var deep = b[key] && typeof b[key] === "object" && !Array.isArray(b[key]);
      a[key] = deep ? merge(a[key] || {}, b[key]) : b[key];
    });
    return a;
  }
  function layout(own) {
    var axis = {
      gridcolor: css("--chart-grid"), linecolor: css("--line-strong"), zerolinecolor: css("--line-strong"),
      tickfont: { size: 12, color: css("--chart-axis") }, automargin: true, fixedrange: true
    };
    return merge({
      font: { family: css("--font"), size: 12, color: css("--text-2") },
      paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false, dragmode: false, hovermode: "closest", bargap: 0.34,
      hoverlabel: {
        bgcolor: css("--text"), bordercolor: css("--text"), align: "left",
        font: { family: css("--font"), size: 12, color: css("--surface") }
      },
      xaxis: merge({ showgrid: false }, axis), yaxis: merge({}, axis),
      xaxis2: merge({ showgrid: false }, axis), yaxis2: merge({}, axis)
    }, resolve(own));
  }

  function draw(box) {
    var figure = JSON.parse(document.getElementById(box.dataset.plot).textContent);
    if (window.innerWidth < 768 && figure.phone) merge(figure.layout, figure.phone);
    return window.Plotly.react(box, resolve(figure.data), layout(figure.layout), config).then(function () {
      box.removeAttribute("aria-busy");
      if (box.dataset.listens) return;
      box.dataset.listens = "1";
      box.on("plotly_click", function (event) { explain(event.points[0]); });
    });
  }
  // A trace may say in meta.explain which figure each of its points is: one code, or a list as long as the trace.
  function explain(point) {
    var codes = point.data.meta && point.data.meta.explain;
    var code = Array.isArray(codes) ? codes[point.pointNumber] : codes;
    if (!code) return;
    var url = new URL(location.href);
    url.searchParams.set("explain", code);
    document.dispatchEvent(new CustomEvent("explain", { detail: { url: url.href } }));
  }
  function fail(box) {
    var words = document.getElementById("chart-failed");
    box.removeAttribute("aria-busy");
    if (words && !box.hidden) box.after(words.content.cloneNode(true));
    box.hidden = true;
    var table = box.closest("figure") && box.closest("figure").querySelector("details.behind");
    if (table) table.open = true;
  }
  function drawAll() {
    var boxes = Array.from(document.querySelectorAll("[data-plot]"));
    return Promise.all(boxes.map(function (box) {
      return Promise.resolve().then(function () { return draw(box); }).catch(function (error) { console.error(error); fail(box); });
    })).then(function () { root.dataset.drawn = "1"; });
  }

  document.addEventListener("themechange", drawAll);
  document.addEventListener("htmx:afterSettle", function (event) {
    if (event.target.querySelector("[data-plot]")) drawAll();
  });

  // Paper is white: print in light, with the tables behind charts open.
  window.addEventListener("beforeprint", function () {
    root.setAttribute("data-bs-theme", "light");
    document.querySelectorAll("details.behind:not([open])").forEach(function (table) { table.open = true; table.dataset.printed = "1"; });
    drawAll();
  });
  window.addEventListener("afterprint", function () {
    document.querySelectorAll("details.behind[data-printed]").forEach(function (table) { table.open = false; delete table.dataset.printed; });
    window.theme.apply();
  });

  drawAll();
})();
