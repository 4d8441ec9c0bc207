// Small conveniences of the pages. Everything works without it.
(function () {
  'use strict';
  var english = document.documentElement.lang === 'en';

  // Instants in the reader's own zone; without this they stay in UTC.
  document.querySelectorAll('time[data-local]').forEach(function (time) {
    var at = new Date(time.dateTime);
    if (isNaN(at)) return;
    time.title = time.dateTime;
    var two = function (number) { return String(number).padStart(2, '0'); };
    time.textContent = at.getFullYear() + '-' + two(at.getMonth() + 1) + '-' + two(at.getDate()) +
      ' ' + two(at.getHours()) + ':' + two(at.getMinutes());
  });

  // On a phone the cells of a row are under each other, and each says what it is.
  document.querySelectorAll('table.rows').forEach(function (table) {
    var heads = Array.prototype.map.call(table.querySelectorAll('thead th'), function (head) {
      return head.querySelector('.hidden') ? '' : head.textContent.trim();
    });
    table.querySelectorAll('tbody tr').forEach(function (row) {
      Array.prototype.forEach.call(row.cells, function (cell, at) {
        if (heads[at] && !cell.dataset.label) cell.dataset.label = heads[at];
      });
    });
  });

  // Pictures that cannot be made leave their modality.
  document.querySelectorAll('img[data-picture]').forEach(function (picture) {
    var frame = picture.parentElement;
    var done = function () { frame.classList.add(picture.naturalWidth ? 'has-picture' : 'no-picture'); };
    if (picture.complete && picture.currentSrc) done();
    picture.addEventListener('load', done);
    picture.addEventListener('error', done);
  });

  // Copy buttons. Without a secure origin browsers offer only the old way.
  function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    var area = document.createElement('textarea');
    area.value = text;
    area.className = 'hidden';
    document.body.appendChild(area);
    area.select();
    var copied = document.execCommand('copy');
    area.remove();
    return copied ? Promise.resolve() : Promise.reject(new Error('not copied'));
  }
  document.querySelectorAll('[data-copy]').forEach(function (button) {
    button.hidden = false;
    var label = button.title;
    button.addEventListener('click', function () {
      copy(button.dataset.copy).then(function () {
        button.classList.add('copied');
        button.title = english ? 'Copied' : '已复制';
        setTimeout(function () { button.classList.remove('copied'); button.title = label; }, 1600);
      }, function () {});
    });
  });

  // Tabs: without the script all of them are shown, one below the other.
  document.querySelectorAll('[data-tabs]').forEach(function (tabs) {
    var list = tabs.querySelector('.tab-list');
    var buttons = Array.prototype.slice.call(list.querySelectorAll('[data-tab]'));
    list.hidden = false;
    list.setAttribute('role', 'tablist');
    tabs.classList.add('tabs-on');
    function show(chosen) {
      buttons.forEach(function (button) {
        var on = button === chosen;
        button.setAttribute('aria-selected', on);
        button.tabIndex = on ? 0 : -1;
        document.getElementById(button.dataset.tab).hidden = !on;
      });
    }
    buttons.forEach(function (button, index) {
      var panel = document.getElementById(button.dataset.tab);
      button.id = button.dataset.tab + '-tab';
      button.setAttribute('role', 'tab');
      button.setAttribute('aria-controls', panel.id);
      panel.setAttribute('role', 'tabpanel');
      panel.setAttribute('aria-labelledby', button.id);
      button.addEventListener('click', function () { show(button); });
      button.addEventListener('keydown', function (event) {
        var step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        var next = buttons[(index + step + buttons.length) % buttons.length];
        show(next);
        next.focus();
      });
    });
    show(buttons[0]);
  });

  // A chosen modality searches at once.
  document.querySelectorAll('.chip input').forEach(function (box) {
    box.addEventListener('change', function () { box.form.requestSubmit(); });
  });
})();
