// The workbench without page loads: the next card is read before it is needed, a decision moves on at once and is sent
// behind, and what it changed comes back as parts of the page. Without this file the same forms and links work.
(function () {
  "use strict";

  var READ_AHEAD = 2, FEW_ROWS = 8;
  var bench = document.querySelector("[data-bench]");
  if (!bench || !window.fetch) return;
  var cards = new Map();  // address of a row → promise of its card's HTML
  var line = Promise.resolve();  // decisions are sent one after the other, in the order they were made
  var unanswered = 0;

  function part(id) { return document.getElementById(id); }
  function rows() { return Array.from(bench.querySelectorAll("[data-rows] tr[tabindex]")); }
  function chosen() { return bench.querySelector('[data-rows] tr[aria-selected="true"]'); }
  function address(row) { return new URL(row.querySelector("a.who").href).href; }
  function parse(text) { return new DOMParser().parseFromString(text, "text/html"); }
  function adopt(element) { return document.adoptNode(element); }

  function ask(url, target, options) {
    var headers = { "HX-Request": "true", "HX-Target": target };
    return fetch(url, Object.assign({ credentials: "same-origin", headers: headers }, options)).then(function (answer) {
      if (answer.redirected) location.reload();  // signed out meanwhile
      if (!answer.ok || answer.redirected) throw new Error(answer.status + " at " + url);
      return answer.text();
    });
  }

  // 1. Cards: the chosen row's is shown, those of the next rows are read ahead.
  function read(row) {
    var url = address(row);
    if (!cards.has(url)) {
      cards.set(url, ask(url, "bench-card").catch(function (error) { cards.delete(url); throw error; }));
    }
    return cards.get(url);
  }
  function forget(row) { cards.delete(address(row)); }
  function put(text) {
    var card = parse(text).getElementById("bench-card");
    if (card) part("bench-card").replaceWith(adopt(card));
  }
  function show(row) {
    var isHere = false, url = address(row);
    history.replaceState(null, "", url);
    read(row).then(function (text) {
      isHere = true;
      if (row === chosen()) put(text);
      readAhead(row);
    }, failed);
    // A promise that is kept already answers before this does; until a card is there, nothing may be accepted.
    Promise.resolve().then(function () { return null; }).then(function () {
      if (!isHere && row === chosen()) part("bench-card").replaceWith(part("bench-waits").content.cloneNode(true));
    });
  }
  function readAhead(row) {
    var list = rows(), at = list.indexOf(row);
    list.slice(at + 1, at + 1 + READ_AHEAD).forEach(function (next) { read(next).catch(function () { return null; }); });
    if (list.length - at < FEW_ROWS) readMore();
  }
  function go(row) {
    row.click();
    row.focus();
  }
  // On a narrow screen the card stands below the queue: whoever points at a customer wants to see it.
  function bringIntoView() {
    var top = part("bench-card").getBoundingClientRect().top;
    if (top < 0 || top > innerHeight / 2) part("bench-card").scrollIntoView({ block: "start" });
  }

  // 2. More rows, before the last one is reached.
  var isReadingMore = false;
  function readMore() {
    var link = bench.querySelector('a[rel="next"]');
    if (!link || isReadingMore) return;
    isReadingMore = true;
    ask(link.href, "bench-rows").then(function (text) {
      var found = parse("<table>" + text + "</table>");
      found.querySelectorAll("tbody tr").forEach(function (row) {
        if (part(row.id)) return;
        row.tabIndex = -1;
        row.setAttribute("aria-selected", "false");
        part("bench-rows").append(adopt(row));
      });
      var next = found.querySelector('a[rel="next"]');
      if (next) link.href = next.href; else link.remove();
    }).catch(function () { return null; }).then(function () { isReadingMore = false; });
  }

  // 3. Decisions. The row goes and the next customer stands there at once; a refusal brings the row back.
  function leave(row) {
    var next = row.nextElementSibling || row.previousElementSibling;
    var place = { row: row, before: row.nextElementSibling };
    row.remove();
    if (next) go(next); else part("bench-card").replaceWith(part("bench-waits").content.cloneNode(true));
    return place;
  }
  function comeBack(row, before) {
    if (!part(row.id)) part("bench-rows").insertBefore(row, before && before.isConnected ? before : chosen());
    forget(row);
    go(row);
  }
  function update(found) {
    found.querySelectorAll("[data-part]").forEach(function (one) {
      if (part(one.id)) part(one.id).replaceWith(adopt(one));
    });
  }
  function settle(outcome, place, row) {
    if (outcome === "stays" && place) comeBack(place.row, place.before);
    if (outcome === "back" && row) comeBack(row, chosen());
    if (outcome === "changed" && row) {
      var old = part(row.id), isChosen = old === chosen();
      row.tabIndex = old.tabIndex;
      row.setAttribute("aria-selected", old.getAttribute("aria-selected"));
      old.replaceWith(row);
      forget(row);
      if (isChosen) go(row);
    }
    if (!rows().length) refresh();
  }
  function send(url, body, place) {
    unanswered += 1;
    line = line.then(function () { return ask(url, "", { method: "POST", body: body }); }).then(function (text) {
      var found = parse(text), answer = found.querySelector("[data-outcome]"), row = found.querySelector("tr[id]");
      update(found);
      settle(answer.dataset.outcome, place, row && adopt(row));
    }).catch(function () {
      if (place) comeBack(place.row, place.before);
      failed();
    }).then(function () { unanswered -= 1; });
  }
  // Until a decision is answered the line at the foot names the one before it: undo waits, and then takes the newest back.
  function undo() {
    var button = bench.querySelector('[data-key="u"]');
    if (button) button.click();
  }
  document.addEventListener("keydown", function (event) {
    var isKey = event.key.toLowerCase() === "u" && !event.metaKey && !event.ctrlKey && !event.altKey;
    if (!isKey || !unanswered || event.target.matches("input:not([type=radio]):not([type=checkbox]), textarea, select")) return;
    try { if (localStorage.getItem("keys") === "off") return; } catch (refused) { /* nobody switched them off */ }
    event.preventDefault();
    line = line.then(undo);
  }, true);
  function decide(form, button) {
    var kind = (button && button.dataset.decision) || form.dataset.decision, row = chosen();
    var url = (button && button.getAttribute("formaction")) || form.getAttribute("action");
    var body = new URLSearchParams(new FormData(form, button));
    if (kind === "back") {
      if (form.dataset.sent) return;  // one press takes one decision back
      form.dataset.sent = "1";
    }
    bench.querySelectorAll("details.pop[open]").forEach(function (menu) { menu.open = false; });
    send(url, body, kind === "gone" && row ? leave(row) : null);
  }
  function find(form) {
    var row = chosen(), url = new URL(form.action);
    url.search = new URLSearchParams(new FormData(form));
    history.replaceState(null, "", url);
    ask(url.href, "bench-card").then(function (text) {
      put(text);
      if (row && row.isConnected) row.focus();
    }, failed);
  }
  document.addEventListener("submit", function (event) {
    var form = event.target;
    if (!bench.contains(form) || !form.matches("[data-decision], [data-find]")) return;
    event.preventDefault();
    if (form.matches("[data-find]")) find(form); else decide(form, event.submitter);
  }, true);

  // 4. All done: what stands there then comes from the server, as everything else does.
  function refresh() {
    var url = new URL(location.href);
    ["customer", "record", "find", "like", "candidate"].forEach(function (name) { url.searchParams.delete(name); });
    history.replaceState(null, "", url);
    ask(url.href, "").then(function (text) {
      var found = parse(text).querySelector("[data-bench]");
      bench.replaceWith(adopt(found));
      bench = found;
      if (window.htmx) window.htmx.process(bench);
      var first = chosen();
      if (first) { first.focus(); readAhead(first); }
    }, failed);
  }
  function failed() { document.dispatchEvent(new CustomEvent("htmx:sendError")); }

  document.addEventListener("chosen", function (event) {
    if (bench.contains(event.target)) show(event.target);
  });
  document.addEventListener("click", function (event) {
    var link = event.target.closest && event.target.closest("[data-rows] a.who");
    if (!link || !bench.contains(link) || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(link.closest("tr"));
  });
  document.addEventListener("pointerup", function (event) {
    if (event.target.closest && bench.contains(event.target) && event.target.closest("[data-rows] tr")) setTimeout(bringIntoView);
  });
  if (chosen()) {
    if (document.activeElement === document.body) chosen().focus({ preventScroll: true });
    readAhead(chosen());
  }
})();
