// What every page does in the browser: theme switch, explain panel, menus, keys, rows, heat map, small conveniences.
// Each page works without it; charts.js draws the charts; theme.js ran before the first paint.
(function () {
  "use strict";

  function all(selector, within) {
    return Array.from((within || document).querySelectorAll(selector));
  }
  function on(name, selector, act) {
    document.addEventListener(name, function (event) {
      var found = event.target.closest && event.target.closest(selector);
      if (found) act(found, event);
    });
  }
  function remembered(name) {
    try { return localStorage.getItem(name); } catch (refused) { return null; }
  }
  function remember(name, value) {
    try { localStorage.setItem(name, value); } catch (refused) { return; }
  }
  function isShown(element) {
    return element.checkVisibility();  // what a closed menu holds has a box, and is not to be seen
  }
  function clone(id) {
    return document.getElementById(id).content.cloneNode(true);
  }

  // 1. Theme: the button in the top bar turns it over, the account menu also offers to follow the system.
  function showTheme() {
    all("[data-theme-set]").forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.themeSet === window.theme.choice()));
    });
  }
  on("click", "[data-theme-switch]", function () {
    window.theme.choose(document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark");
  });
  on("click", "[data-theme-set]", function (button) { window.theme.choose(button.dataset.themeSet); });
  document.addEventListener("themechange", showTheme);
  showTheme();

  // 2. Explain panel. A figure is a link to the same page with ?explain=code; its panel is taken out of that page, so the
  //    address can be kept, sent and opened without script. It takes focus and gives it back.
  var from = null, waiting = 0;
  function panel() {
    return document.getElementById("explain");
  }
  function settle() {
    // Plotly fits its box on resize; the page has been pushed when the slide is over.
    setTimeout(function () { window.dispatchEvent(new Event("resize")); }, 220);
  }
  function mark(figure) {
    all('.fig[aria-expanded="true"]').forEach(function (other) { other.removeAttribute("aria-expanded"); });
    if (figure) figure.setAttribute("aria-expanded", "true");
  }
  function put(next) {
    panel().replaceWith(next);
    if (window.htmx) window.htmx.process(next);
    next.querySelector("h2").focus();
    settle();
  }
  function open(url, figure) {
    from = figure || from;
    mark(figure);
    var mine = ++waiting;
    var slow = setTimeout(function () {
      panel().replaceChildren(clone("explain-loading"));
      panel().classList.add("open");
      settle();
    }, 300);
    fetch(url, { headers: { "HX-Request": "true", "HX-Target": "explain" }, credentials: "same-origin" })
      .then(function (answer) {
        if (!answer.ok || answer.redirected) throw new Error("no panel at " + url);
        return answer.text();
      })
      .then(function (text) {
        var next = new DOMParser().parseFromString(text, "text/html").querySelector("#explain.open");
        if (!next) throw new Error("no panel at " + url);
        if (mine !== waiting) return;
        clearTimeout(slow);
        history.replaceState(null, "", url);
        put(document.adoptNode(next));
      })
      .catch(function () {
        // The whole page says what went wrong better than a panel could.
        if (mine === waiting) location.assign(url);
      });
  }
  function close() {
    var url = new URL(location.href), code = url.searchParams.get("explain");
    from = from || all(".fig[data-explain]").find(function (figure) { return figure.dataset.explain === code; });
    waiting += 1;
    panel().classList.remove("open");
    mark(null);
    url.searchParams.delete("explain");
    history.replaceState(null, "", url);
    if (from && from.isConnected) from.focus();
    from = null;
    settle();
  }
  on("click", ".fig[data-explain], [data-panel]", function (link, event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || !panel()) return;
    event.preventDefault();
    open(link.href, link.matches(".fig") && !panel().contains(link) ? link : null);
  });
  on("click", "[data-close]", function (link, event) { event.preventDefault(); close(); });
  document.addEventListener("explain", function (event) { if (panel()) open(event.detail.url, null); });

  // 3. Menus are <details class="pop">: one at a time, shut by a click elsewhere or Esc.
  function shutMenus(but) {
    var shut = all("details.pop[open]").filter(function (menu) { return menu !== but; });
    shut.forEach(function (menu) { menu.open = false; });
    return shut;
  }
  document.addEventListener("click", function (event) { shutMenus(event.target.closest("details.pop")); });

  // 4. Keys. An element with data-key="x" is pressed by x; a link with data-go="o" by g, then o. Never while typing.
  var goAt = 0;
  function isTyping(element) {
    return element.isContentEditable || /^(TEXTAREA|SELECT)$/.test(element.tagName) ||
      (element.tagName === "INPUT" && !/^(button|checkbox|radio|submit)$/.test(element.type));
  }
  function press(selector, value) {
    // An open menu's keys come first: its digits pick what it offers, not a candidate.
    var open = document.querySelector("details.pop[open] > .menu");
    return (open && pressWithin(open, selector, value)) || pressWithin(document, selector, value);
  }
  function pressWithin(part, selector, value) {
    var found = all(selector, part).find(function (element) {
      return (element.dataset.key === value || element.dataset.go === value) && isShown(element);
    });
    if (!found) return false;
    if (found.tagName === "INPUT" && isTyping(found)) { found.focus(); found.select(); } else found.click();
    return true;
  }
  function escape() {
    var shut = shutMenus(null);
    if (shut.length) shut[0].querySelector("summary").focus();
    else if (panel() && panel().classList.contains("open")) close();
  }
  function isPressed(event) {
    var key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (goAt && Date.now() - goAt < 1500) { goAt = 0; return press("[data-go]", key); }
    if (key === "g") { goAt = Date.now(); return false; }
    if (key === "?") { document.getElementById("keys").showModal(); return true; }
    if (key === "j" || key === "k") return step(key === "j" ? 1 : -1);
    if (key === "e") return explainFocused();
    if (key === "Enter") return enter(event.target);
    return press("[data-key]", key);
  }
  function explainFocused() {
    var focused = document.activeElement;
    var figure = focused.closest(".fig[data-explain]") || focused.querySelector(".fig[data-explain]");
    if (!figure || focused === document.body) return false;
    figure.click();
    return true;
  }
  document.addEventListener("keydown", function (event) {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return isTyping(event.target) ? event.target.blur() : escape();
    if (isTyping(event.target) || remembered("keys") === "off") return;
    if (isPressed(event)) event.preventDefault();
  });
  on("click", "[data-help]", function () { document.getElementById("keys").showModal(); });
  all("[data-keys-switch]").forEach(function (box) {
    box.checked = remembered("keys") !== "off";
    box.addEventListener("change", function () { remember("keys", box.checked ? "on" : "off"); });
  });

  // 5. Rows of [data-rows]: J and K or a click choose one, which tells the page by the event "chosen"; Enter opens or accepts.
  function choose(row) {
    all("tr[tabindex]", row.closest("[data-rows]")).forEach(function (other) {
      other.setAttribute("aria-selected", String(other === row));
      other.tabIndex = other === row ? 0 : -1;
    });
    row.dispatchEvent(new CustomEvent("chosen", { bubbles: true }));
  }
  function step(by) {
    var rows = all("[data-rows] tr[tabindex]");
    if (!rows.length) return false;
    var at = rows.findIndex(function (row) { return row.getAttribute("aria-selected") === "true"; });
    var row = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
    choose(row);
    row.focus();
    return true;
  }
  function enter(element) {
    if (element.matches("[data-rows] tr[tabindex]") || element === document.body) {
      if (press("[data-key]", "Enter")) return true;
      var opener = element.matches("tr") && element.querySelector("[data-expand]");
      if (opener) { opener.click(); return true; }
      var link = element.matches("tr") && element.querySelector("a.who");
      if (link) link.click();
      return Boolean(link);
    }
    return false;
  }
  on("click", "[data-rows] tr[tabindex]", function (row, event) {
    if (!event.target.closest("a, button, input, label")) choose(row);
  });

  // Search: arrows go from the field into what was found and back, Enter follows the link.
  document.addEventListener("keydown", function (event) {
    var by = { ArrowDown: 1, ArrowUp: -1 }[event.key], field = document.getElementById("find");
    var links = all("[data-found] a"), at = links.indexOf(event.target);
    if (!by || (at < 0 && event.target !== field) || !links.length) return;
    event.preventDefault();
    (at + by < 0 ? field : links[Math.min(links.length - 1, at + by)]).focus();
  });

  // 6. Heat map: one stop for Tab, arrows move between the cells, Enter follows the link.
  function cells(heat) {
    return all("tbody tr", heat).map(function (row) { return all("td a", row); });
  }
  all(".heat").forEach(function (heat) {
    all("td a", heat).forEach(function (cell, at) { cell.tabIndex = at ? -1 : 0; });
  });
  document.addEventListener("keydown", function (event) {
    var heat = event.target.closest && event.target.closest(".heat"), by = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]
    }[event.key];
    if (!heat || !by || !event.target.matches("td a")) return;
    var rows = cells(heat), y = rows.findIndex(function (row) { return row.includes(event.target); });
    var x = rows[y].indexOf(event.target), next = rows[y + by[0]] && rows[y + by[0]][x + by[1]];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // 7. Rows that open, texts to copy, forms that are sent once, toasts.
  on("click", "[data-expand]", function (button) {
    var details = document.getElementById(button.getAttribute("aria-controls"));
    details.hidden = !details.hidden;
    button.setAttribute("aria-expanded", String(!details.hidden));
  });
  on("change", "[data-all]", function (box) {
    all('input[type="checkbox"][form="' + box.dataset.all + '"]').forEach(function (other) { other.checked = box.checked; });
  });
  on("click", "[data-copy]", function (button) {
    navigator.clipboard.writeText(button.dataset.copy || location.href).then(function () { say(button.dataset.copied || "Copied."); });
  });
  function say(text) {
    var toast = clone("toast-plain");
    toast.querySelector("[data-text]").textContent = text;
    document.querySelector(".toasts").append(toast);
    expire();
  }
  function expire() {
    all(".toasts .toast-s:not([data-expires])").forEach(function (toast) {
      toast.dataset.expires = "1";
      setTimeout(function remove() {
        if (toast.matches(":hover, :focus-within")) setTimeout(remove, 2000); else toast.remove();
      }, 8000);
    });
  }
  expire();
  on("change", "form[data-auto]", function (form) { form.requestSubmit(); });
  document.addEventListener("submit", function (event) {
    var button = event.submitter;
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    if (event.defaultPrevented || !button || !button.dataset.busy) return;
    event.target.dataset.sent = "1";
    button.style.minWidth = button.offsetWidth + "px";
    button.dataset.words = button.textContent;
    button.textContent = button.dataset.busy;
  });
  // A page that comes back from the browser's memory must be able to send again.
  window.addEventListener("pageshow", function () {
    all("form[data-sent]").forEach(function (form) {
      delete form.dataset.sent;
      all("[data-words]", form).forEach(function (button) { button.textContent = button.dataset.words; });
    });
  });
  var bad = document.querySelector('[aria-invalid="true"]');
  if (bad) bad.focus();

  // 8. Fragments. Logged out meanwhile: the whole page goes to the login. Refused or broken: said at the top of the page.
  document.addEventListener("htmx:beforeSwap", function (event) {
    var login = document.body.dataset.login, answered = event.detail.xhr.responseURL;
    if (login && answered && new URL(answered).pathname === login) { event.preventDefault(); location.reload(); }
  });
  function failed() {
    var old = document.querySelector("main > .err[data-request]");
    if (old) old.remove();
    document.querySelector("main").prepend(clone("request-failed"));
  }
  document.addEventListener("htmx:responseError", failed);
  document.addEventListener("htmx:sendError", failed);

  // 9. "last event 4 s ago" was true when the page was made. A page left open says how old it is instead.
  var loadedAt = Date.now(), live = document.querySelector(".live");
  setInterval(function () {
    var minutes = Math.floor((Date.now() - loadedAt) / 60000);
    if (!live || minutes < 1) return;
    live.querySelector(".dot").className = "dot dot-off";
    live.title = live.querySelector("[data-words]").textContent = "Page loaded " + (minutes < 60 ? minutes + " min" : Math.floor(minutes / 60) + " h") + " ago";
  }, 15000);
})();
