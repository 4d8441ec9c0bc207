// The viewer that a share link opens: one series at a time, made for a thumb. Drag up and down to
// go through the images, pinch or double-tap to zoom, drag a zoomed image to move it.
(function () {
  'use strict';
  var english = document.documentElement.lang === 'en';
  var stack = document.getElementById('stack');
  if (!stack) return;
  var view = document.getElementById('stack-view');
  var image = document.getElementById('stack-image');
  var slider = document.getElementById('stack-slider');
  var place = document.getElementById('stack-place');
  var title = document.getElementById('stack-title');
  var windows = document.getElementById('stack-windows');
  var opener = null;

  // Centre and width in Hounsfield units; other modalities carry windows of their own.
  var presets = [
    [english ? 'Default' : '默认', ''],
    [english ? 'Lung' : '肺窗', '-600,1500,linear'],
    [english ? 'Soft tissue' : '软组织', '40,400,linear'],
    [english ? 'Bone' : '骨窗', '480,2500,linear'],
    [english ? 'Brain' : '脑窗', '40,80,linear'],
  ];

  var images = [];
  var at = 0;
  var chosen = '';
  var zoom = { scale: 1, x: 0, y: 0 };
  var kept = new Map();

  function side() {
    var longest = Math.max(window.innerWidth, window.innerHeight) * Math.min(window.devicePixelRatio || 1, 2);
    return Math.min(1536, Math.max(512, Math.ceil(longest / 256) * 256));
  }
  function url(index) {
    return images[index] + '?viewport=' + side() + ',' + side() + (chosen ? '&window=' + encodeURIComponent(chosen) : '');
  }
  // Browsers keep nothing of a shared link; this page keeps what it fetched while it is open.
  function fetched(address) {
    if (kept.has(address)) return kept.get(address);
    var picture = fetch(address).then(function (answer) {
      if (!answer.ok) throw new Error(String(answer.status));
      return answer.blob();
    }).then(function (blob) { return URL.createObjectURL(blob); });
    picture.catch(function () { kept.delete(address); });
    kept.set(address, picture);
    return picture;
  }
  function forget(address) {
    var picture = kept.get(address);
    kept.delete(address);
    if (picture) picture.then(URL.revokeObjectURL, function () {});
  }
  // Images around the one that is shown are fetched before they are asked for.
  function fetchAhead() {
    for (var step = 1; step <= 8; step++) {
      [at + step, step <= 3 ? at - step : -1].forEach(function (index) {
        if (index >= 0 && index < images.length) fetched(url(index));
      });
    }
    while (kept.size > 120) forget(kept.keys().next().value);
  }
  function draw() {
    image.style.transform = 'translate(' + zoom.x + 'px,' + zoom.y + 'px) scale(' + zoom.scale + ')';
  }
  function show(index) {
    at = Math.max(0, Math.min(images.length - 1, index));
    var wanted = url(at);
    fetched(wanted).then(function (source) {
      if (images.length && url(at) === wanted) image.src = source;
    }, function () { if (images.length && url(at) === wanted) place.textContent = '–'; });
    slider.value = String(at + 1);
    place.textContent = (at + 1) + ' / ' + images.length;
    fetchAhead();
  }

  function pages(series, from, found) {
    var address = series + '/instances?limit=1000&offset=' + from + '&includefield=00280008';
    return fetch(address, { headers: { Accept: 'application/dicom+json' } }).then(function (answer) {
      if (answer.status === 204) return [];
      if (!answer.ok) throw new Error(String(answer.status));
      return answer.json();
    }).then(function (rows) {
      var all = found.concat(rows);
      return rows.length === 1000 ? pages(series, from + 1000, all) : all;
    });
  }
  function value(row, tag) {
    return row[tag] && row[tag].Value ? row[tag].Value[0] : undefined;
  }
  function open(button) {
    opener = button;
    var series = button.dataset.series;
    title.textContent = button.dataset.title;
    place.textContent = '…';
    image.removeAttribute('src');
    stack.hidden = false;
    document.body.classList.add('stack-open');
    document.getElementById('stack-close').focus();
    zoom = { scale: 1, x: 0, y: 0 };
    chosen = '';
    draw();
    windows.replaceChildren();
    if (button.dataset.modality === 'CT') {
      presets.forEach(function (preset) {
        var one = document.createElement('button');
        one.type = 'button';
        one.textContent = preset[0];
        one.setAttribute('aria-pressed', String(preset[1] === ''));
        one.addEventListener('click', function () {
          chosen = preset[1];
          windows.querySelectorAll('button').forEach(function (other) { other.setAttribute('aria-pressed', String(other === one)); });
          show(at);
        });
        windows.appendChild(one);
      });
    }
    pages(series, 0, []).then(function (rows) {
      if (opener !== button) return;
      images = [];
      rows.forEach(function (row) {
        var instance = series + '/instances/' + value(row, '00080018');
        var frames = Number(value(row, '00280008') || 1);
        if (frames === 1) images.push(instance + '/rendered');
        for (var frame = 1; frames > 1 && frame <= frames; frame++) images.push(instance + '/frames/' + frame + '/rendered');
      });
      slider.max = String(Math.max(1, images.length));
      if (images.length) show(Math.floor((images.length - 1) / 2)); else place.textContent = '0';
    }, function () {
      place.textContent = english ? 'These images cannot be loaded now.' : '暂时无法加载图像。';
    });
  }
  function close() {
    stack.hidden = true;
    document.body.classList.remove('stack-open');
    images = [];
    Array.from(kept.keys()).forEach(forget);
    image.removeAttribute('src');
    if (opener) opener.focus();
    opener = null;
  }

  document.querySelectorAll('[data-series]').forEach(function (button) {
    button.addEventListener('click', function () { open(button); });
  });
  document.getElementById('stack-close').addEventListener('click', close);
  slider.addEventListener('input', function () { if (images.length) show(Number(slider.value) - 1); });
  document.addEventListener('keydown', function (event) {
    if (stack.hidden) return;
    if (event.key === 'Escape') close();
    var step = { ArrowDown: 1, ArrowRight: 1, PageDown: 10, ArrowUp: -1, ArrowLeft: -1, PageUp: -10 }[event.key];
    if (step && images.length && event.target !== slider) { event.preventDefault(); show(at + step); }
  });
  view.addEventListener('wheel', function (event) {
    event.preventDefault();
    if (images.length) show(at + (event.deltaY > 0 ? 1 : -1));
  }, { passive: false });

  // Fingers.
  var fingers = new Map();
  var start = null;
  var tapped = 0;
  function middle() {
    var list = Array.from(fingers.values());
    return {
      x: (list[0].x + list[1].x) / 2, y: (list[0].y + list[1].y) / 2,
      apart: Math.hypot(list[0].x - list[1].x, list[0].y - list[1].y),
    };
  }
  function begin() {
    if (fingers.size === 2) start = { two: middle(), zoom: Object.assign({}, zoom) };
    else if (fingers.size === 1) {
      var one = Array.from(fingers.values())[0];
      start = { one: { x: one.x, y: one.y }, zoom: Object.assign({}, zoom), at: at, moved: false };
    } else start = null;
  }
  view.addEventListener('pointerdown', function (event) {
    view.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    begin();
  });
  view.addEventListener('pointermove', function (event) {
    if (!fingers.has(event.pointerId) || !start) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (start.two && fingers.size === 2) {
      var now = middle();
      zoom.scale = Math.max(1, Math.min(8, start.zoom.scale * now.apart / Math.max(1, start.two.apart)));
      zoom.x = zoom.scale === 1 ? 0 : start.zoom.x + now.x - start.two.x;
      zoom.y = zoom.scale === 1 ? 0 : start.zoom.y + now.y - start.two.y;
      draw();
    } else if (start.one) {
      var x = event.clientX - start.one.x, y = event.clientY - start.one.y;
      if (Math.hypot(x, y) > 8) start.moved = true;
      if (zoom.scale > 1) {
        zoom.x = start.zoom.x + x;
        zoom.y = start.zoom.y + y;
        draw();
      } else if (images.length > 1) {
        // The whole height of the screen is the whole series, or forty images of a long one.
        var travel = Math.min(images.length, 40);
        var target = start.at + Math.round(y / view.clientHeight * travel);
        if (target !== at) show(target);
      }
    }
  });
  function end(event) {
    if (!fingers.delete(event.pointerId)) return;
    if (fingers.size === 0 && start && start.one && !start.moved) {
      var now = Date.now();
      if (now - tapped < 320) {
        zoom = zoom.scale > 1 ? { scale: 1, x: 0, y: 0 } : { scale: 2.5, x: 0, y: 0 };
        draw();
        now = 0;
      }
      tapped = now;
    }
    begin();
  }
  view.addEventListener('pointerup', end);
  view.addEventListener('pointercancel', end);
})();
