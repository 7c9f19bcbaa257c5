// Writes column j of a line j cycles after column 0; unless they begin there, sums are added to what is there. A line
// is read in the cycle before it is written: with FORWARD it may be the one that is written in that cycle.
module dfc_accumulate #(
    parameter integer COLS = 4,
    parameter integer ACC_BITS = 32,
    parameter integer FORWARD = 0,
    parameter integer AW = 24,
    parameter integer SW = 20
) (
    input  wire                     clk,
    input  wire                     rst,
    input  wire                     valid,    // in the cycle before that of the sum in column 0
    input  wire                     begins,
    input  wire [SW-1:0]            n,
    input  wire [AW-1:0]            addr,
    input  wire [COLS*ACC_BITS-1:0] sum,
    output reg  [COLS-1:0]          y_read,
    output wire [COLS*AW-1:0]       y_raddr,
    input  wire [COLS*ACC_BITS-1:0] y_rdata,
    output reg  [COLS-1:0]          y_write,
    output wire [COLS*AW-1:0]       y_waddr,
    output reg  [COLS*ACC_BITS-1:0] y_wdata
);
  // Index j + 1 is what column j sees a cycle later; index 0 comes in.
  reg [COLS-1:0] valid_held, begins_held;
  reg [COLS*SW-1:0] n_held;
  reg [COLS*AW-1:0] addr_held;
  /* verilator lint_off UNUSEDSIGNAL */  // the last column hands nothing on
  wire [COLS:0] valid_at = {valid_held, valid};
  wire [COLS:0] begins_at = {begins_held, begins};
  wire [(COLS+1)*SW-1:0] n_at = {n_held, n};
  wire [(COLS+1)*AW-1:0] addr_at = {addr_held, addr};
  /* verilator lint_on UNUSEDSIGNAL */
  assign y_raddr = addr_at[COLS*AW-1:0];
  assign y_waddr = addr_held;
  always @(posedge clk) begin
    valid_held <= rst ? {COLS{1'b0}} : valid_at[COLS-1:0];
    begins_held <= begins_at[COLS-1:0];
    n_held <= n_at[COLS*SW-1:0];
    addr_held <= addr_at[COLS*AW-1:0];
  end
  wire [COLS*ACC_BITS-1:0] before_it;
  generate
    if (FORWARD == 0) begin : from_memory
      assign before_it = y_rdata;
    end else begin : forwarded
      reg [COLS*ACC_BITS-1:0] written;
      reg [COLS-1:0] same;
      integer i;
      always @(posedge clk) begin
        written <= y_wdata;
        for (i = 0; i < COLS; i = i + 1) same[i] <= valid_held[i] && addr_at[i*AW +: AW] == addr_held[i*AW +: AW];
      end
      genvar g;
      for (g = 0; g < COLS; g = g + 1) begin : column
        assign before_it[g*ACC_BITS +: ACC_BITS] =
            same[g] ? written[g*ACC_BITS +: ACC_BITS] : y_rdata[g*ACC_BITS +: ACC_BITS];
      end
    end
  endgenerate
  integer j;
  always @* begin
    for (j = 0; j < COLS; j = j + 1) begin
      y_read[j] = valid_at[j] && !begins_at[j] && n_at[j*SW +: SW] > j[SW-1:0];
      y_write[j] = valid_held[j] && n_held[j*SW +: SW] > j[SW-1:0];
      y_wdata[j*ACC_BITS +: ACC_BITS] = sum[j*ACC_BITS +: ACC_BITS]
          + (begins_held[j] ? {ACC_BITS{1'b0}} : before_it[j*ACC_BITS +: ACC_BITS]);
    end
  end
endmodule
