// A row: inputs and controls move right, weights down, sums down on request.
module dfc_output_row #(
    parameter integer COLS = 4,
    parameter integer OPERAND_BITS = 8,
    parameter integer ACC_BITS = 32,
    parameter integer DOUBLE = 1
) (
    input  wire                         clk,
    input  wire [OPERAND_BITS-1:0]      x,
    input  wire [2:0]                   control,  // phase, first, valid; with the input
    input  wire [2:0]                   drain,    // phase, take, shift
    input  wire [COLS*OPERAND_BITS-1:0] w_in,
    output reg  [COLS*OPERAND_BITS-1:0] w_out,
    input  wire [COLS*ACC_BITS-1:0]     sum_in,
    output reg  [COLS*ACC_BITS-1:0]     sum_out,
    input  wire [COLS*ACC_BITS-1:0]     bus_in,
    output reg  [COLS*ACC_BITS-1:0]     bus_out
);
  /* verilator no_inline_module */  // all rows are one class of the simulator
  localparam integer B = OPERAND_BITS;
  localparam integer A = ACC_BITS;
  /* verilator lint_off UNUSEDSIGNAL */  // the last column hands nothing on
  reg [COLS*B-1:0] x_held;
  reg [COLS*6-1:0] held;
  /* verilator lint_on UNUSEDSIGNAL */
  wire [COLS*B-1:0] x_at;
  wire [COLS*6-1:0] at;
  generate
    if (COLS == 1) begin : single
      assign x_at = x;
      assign at = {drain, control};
    end else begin : many
      assign x_at = {x_held[(COLS-1)*B-1:0], x};
      assign at = {held[(COLS-1)*6-1:0], drain, control};
    end
  endgenerate
  always @(posedge clk) begin
    x_held <= x_at;
    held <= at;
    w_out <= w_in;
  end

  reg [COLS*A-1:0] acc0, acc1, next;
  integer j;
  reg signed [B-1:0] one, other;
  /* verilator lint_off UNUSEDSIGNAL */
  reg signed [2*B+A-1:0] wide;
  /* verilator lint_on UNUSEDSIGNAL */
  reg [A-1:0] before_it;
  always @* begin
    for (j = 0; j < COLS; j = j + 1) begin
      one = $signed(x_at[j*B +: B]);
      other = $signed(w_in[j*B +: B]);
      wide = one * other;
      before_it = at[j*6 + 2] && DOUBLE != 0 ? acc1[j*A +: A] : acc0[j*A +: A];
      next[j*A +: A] = (at[j*6 + 1] ? {A{1'b0}} : before_it) + wide[A-1:0];
      sum_out[j*A +: A] = at[j*6 + 5] && DOUBLE != 0 ? acc1[j*A +: A] : acc0[j*A +: A];
      bus_out[j*A +: A] = bus_in[j*A +: A] | (at[j*6 + 4] ? next[j*A +: A] : {A{1'b0}});
    end
  end
  integer c;
  always @(posedge clk) begin
    for (c = 0; c < COLS; c = c + 1) begin
      if (at[c*6] && !(at[c*6 + 2] && DOUBLE != 0)) acc0[c*A +: A] <= next[c*A +: A];
      else if (at[c*6 + 3] && !(at[c*6 + 5] && DOUBLE != 0)) acc0[c*A +: A] <= sum_in[c*A +: A];
      if (at[c*6] && at[c*6 + 2] && DOUBLE != 0) acc1[c*A +: A] <= next[c*A +: A];
      else if (at[c*6 + 3] && at[c*6 + 5] && DOUBLE != 0) acc1[c*A +: A] <= sum_in[c*A +: A];
    end
  end
endmodule
