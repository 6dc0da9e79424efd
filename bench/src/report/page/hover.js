document.querySelectorAll(".plot").forEach(function (plot) {
  var places = JSON.parse(plot.dataset.hover), cursor = plot.querySelector(".cursor"), tip = plot.querySelector(".tip");
  if (!places.length) return;
  function show(event) {
    var box = plot.getBoundingClientRect(), at = (event.clientX - box.left) / box.width * 100;
    var nearest = places.reduce(function (best, place) {
      return Math.abs(place[0] - at) < Math.abs(best[0] - at) ? place : best;
    });
    cursor.style.left = nearest[0] + "%";
    tip.textContent = nearest[1];
    tip.style.left = nearest[0] > 55 ? "auto" : "calc(" + nearest[0] + "% + 10px)";
    tip.style.right = nearest[0] > 55 ? "calc(" + (100 - nearest[0]) + "% + 10px)" : "auto";
    cursor.style.display = tip.style.display = "block";
  }
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", function () { cursor.style.display = tip.style.display = "none"; });
});
