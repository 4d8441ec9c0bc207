// The live worklist: fetches the list anew when something happened, counts down, and listens to keys.
(function () {
  'use strict';
  var area = document.querySelector('[data-reading]');
  if (!area) return;
  var english = document.documentElement.lang === 'en';
  var sign = document.querySelector('[data-live]');
  var task = area.dataset.task;

  function two(number) { return String(number).padStart(2, '0'); }

  // Times in the reader's own zone, and how long that is from now.
  function clocks() {
    var now = Date.now();
    area.querySelectorAll('time[data-due]').forEach(function (time) {
      var at = new Date(time.dateTime);
      if (isNaN(at)) return;
      var minutes = Math.round((at - now) / 60000);
      var far = Math.abs(minutes);
      var words = far < 60 ? far + (english ? ' min' : ' 分钟')
        : far < 2880 ? Math.floor(far / 60) + (english ? ' h ' : ' 小时 ') + two(far % 60) + (english ? ' min' : ' 分')
        : Math.floor(far / 1440) + (english ? ' days' : ' 天');
      var local = two(at.getMonth() + 1) + '-' + two(at.getDate()) + ' ' + two(at.getHours()) + ':' + two(at.getMinutes());
      var live = time.dataset.due === 'live';
      var side = minutes < 0 ? (english ? ' late' : '超时 ') : (english ? ' left' : '剩余 ');
      time.textContent = !live ? local : local + ' · ' + (english ? words + side : side + words);
      time.title = time.dateTime;
      var row = time.closest('[data-clock]');
      if (row && live) row.dataset.clock = minutes < 0 ? 'overdue' : minutes < 60 ? 'soon' : '';
    });
    area.querySelectorAll('time[data-local]').forEach(function (time) {
      var at = new Date(time.dateTime);
      if (isNaN(at)) return;
      time.title = time.dateTime;
      time.textContent = at.getFullYear() + '-' + two(at.getMonth() + 1) + '-' + two(at.getDate()) +
        ' ' + two(at.getHours()) + ':' + two(at.getMinutes());
    });
  }
  clocks();
  setInterval(clocks, 20000);

  // One fetch at a time; what happens meanwhile asks for one more.
  var busy = false, again = false, timer = 0;
  function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    var from = task ? location.pathname : '/reading/rows' + location.search;
    fetch(from, { credentials: 'same-origin', headers: { 'Accept': 'text/html' } }).then(function (answer) {
      if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
      return answer.text();
    }).then(function (text) {
      var page = new DOMParser().parseFromString(text, 'text/html');
      var fresh = task ? page.querySelector('[data-reading]') : page.body;
      // Nobody loses what they are writing.
      var writing = document.activeElement && area.contains(document.activeElement) &&
        /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
      if (!fresh || writing) { if (writing) later(2000); return; }
      var chosen = current() && current().dataset.task;
      var held = document.activeElement && document.activeElement.closest && document.activeElement.closest('tr[data-task]');
      area.replaceChildren.apply(area, Array.prototype.slice.call(fresh.childNodes));
      clocks();
      var row = chosen && area.querySelector('tr[data-task="' + chosen + '"]');
      if (row && held) row.focus();
      document.dispatchEvent(new CustomEvent('reading-changed'));
    }).catch(function () { later(3000); }).then(function () {
      busy = false;
      if (again) { again = false; refresh(); }
    });
  }
  function later(wait) { clearTimeout(timer); timer = setTimeout(refresh, wait); }

  function show(live) {
    if (!sign) return;
    sign.hidden = false;
    sign.textContent = live ? sign.dataset.live : sign.dataset.lost;
    sign.classList.toggle('state-good', live);
    sign.classList.toggle('state-bad', !live);
  }
  var events = new EventSource('/reading/live?after=' + encodeURIComponent(area.dataset.position));
  events.addEventListener('open', function () { show(true); });
  events.addEventListener('error', function () { show(false); });
  events.addEventListener('task', function (event) {
    if (task && JSON.parse(event.data).task !== Number(task)) return;
    later(60);
  });

  // j and k move through the list; the rest does what its link or button does.
  function rows() { return Array.prototype.slice.call(area.querySelectorAll('tr[data-task]')); }
  function current() {
    var row = document.activeElement && document.activeElement.closest && document.activeElement.closest('tr[data-task]');
    return row;
  }
  document.addEventListener('keydown', function (event) {
    var typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (typing || event.ctrlKey || event.metaKey || event.altKey || task) return;
    var all = rows(), row = current(), index = all.indexOf(row);
    var press = function (selector) { var target = row && row.querySelector(selector); if (target) target.click(); };
    if (event.key === 'j' || event.key === 'k') {
      var next = all[event.key === 'j' ? Math.min(index + 1, all.length - 1) : Math.max(index - 1, 0)];
      if (next) { next.focus(); event.preventDefault(); }
    } else if (event.key === 'o') press('[data-open]');
    else if (event.key === 'c') press('[data-claim]');
    else if (event.key === 'Enter' && event.target === row) press('[data-details]');
    else if (event.key === '/') {
      var first = document.querySelector('#filters select, #filters input');
      if (first) { first.focus(); event.preventDefault(); }
    }
  });
})();
