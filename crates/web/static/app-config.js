// Settings of the OHIF viewer on this server.
(function () {
  // OHIF's pages live under /ohif; /viewer is the address that other systems link to.
  var place = window.location;
  if (/^\/viewer(\/|$)/.test(place.pathname)) {
    window.history.replaceState(null, '', '/ohif' + place.pathname + place.search + place.hash);
  }
  // ?tenant=NAME opens what another hospital shares.
  var tenant = new URLSearchParams(place.search).get('tenant');
  var root = place.origin + (tenant ? '/tenants/' + encodeURIComponent(tenant) : '') + '/dicom-web';
  window.config = {
    name: 'Qianli',
    routerBasename: '/ohif',
    extensions: [],
    modes: [],
    // The guided tour would cover the first image that every reader opens.
    customizationService: [{ 'ohif.tours': { $set: [] } }],
    showStudyList: true,
    maxNumberOfWebWorkers: 3,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    groupEnabledModesFirst: true,
    maxNumRequests: { interaction: 100, thumbnail: 10, prefetch: 25 },
    investigationalUseDialog: { option: 'configure', days: 365 },
    whiteLabeling: {
      createLogoComponentFn: function (React) {
        return React.createElement(
          'a',
          { href: '/', title: 'Qianli', style: { display: 'flex', alignItems: 'center', gap: '8px', color: '#fff' } },
          React.createElement('img', { src: '/favicon.ico', alt: '', width: 28, height: 28 }),
          React.createElement('span', { style: { fontWeight: 600, fontSize: '17px' } }, 'Qianli')
        );
      },
    },
    defaultDataSourceName: 'qianli',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'qianli',
        configuration: {
          friendlyName: 'Qianli',
          name: 'qianli',
          qidoRoot: root,
          wadoRoot: root,
          wadoUriRoot: root + '/wado',
          qidoSupportsIncludeField: true,
          supportsReject: false,
          imageRendering: 'wadors',
          thumbnailRendering: 'thumbnail',
          thumbnailRequestStrategy: 'fetch',
          enableStudyLazyLoad: true,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          dicomUploadEnabled: true,
          singlepart: 'bulkdata,video,pdf',
          bulkDataURI: { enabled: true, relativeResolution: 'instances' },
          omitQuotationForMultipartRequest: true,
        },
      },
    ],
    httpErrorHandler: function (error) {
      console.warn('DICOMweb request failed', error.status);
    },
  };
})();
