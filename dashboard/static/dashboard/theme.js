// Loaded first and blocking, so that the page never flashes in the wrong colours. The choice (auto, light or dark) is kept
// under the same name and values as in Django's admin, so that both follow one switch.
(function () {
  "use strict";
  var root = document.documentElement;
  var system = matchMedia("(prefers-color-scheme: dark)");
  var asked = new URLSearchParams(location.search).get("theme");

  function stored() {
    try { return localStorage.getItem("theme"); } catch (refused) { return null; }
  }
  function choice() {
    return asked || stored() || root.dataset.themeChoice || "auto";
  }
  function apply() {
    var dark = choice() === "dark" || (choice() === "auto" && system.matches);
    root.setAttribute("data-bs-theme", dark ? "dark" : "light");
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", apply);
  // The admin's own switch stores the choice and then sets data-theme.
  new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ["data-theme"] });

  window.theme = {
    choice: choice,
    apply: apply,
    choose: function (value) {
      asked = null;
      try { localStorage.setItem("theme", value); } catch (refused) { root.dataset.themeChoice = value; }
      apply();
    }
  };
})();
