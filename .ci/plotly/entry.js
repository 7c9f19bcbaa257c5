"use strict";
// The traces that pages use; scatter is in the core. All of plotly.js is four times as large and takes as long to load.
const plotly = require("plotly.js/lib/core");
plotly.register([require("plotly.js/lib/bar"), require("plotly.js/lib/parcoords")]);
module.exports = plotly;
