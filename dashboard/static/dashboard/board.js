// The board pack's button that prints. Paper is white: it is printed in light, whatever the screen shows.
(function () {
  "use strict";
  var root = document.documentElement;
  document.querySelectorAll("[data-print]").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () { window.print(); });
  });
  window.addEventListener("beforeprint", function () { root.setAttribute("data-bs-theme", "light"); });
  window.addEventListener("afterprint", function () { window.theme.apply(); });
})();
