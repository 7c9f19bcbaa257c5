// Lanes for scalar operations in 32-bit fixed point: a line of LANES words per operand and cycle.
//
// A fold is one line. `exp` and `rsqrt` run on LANES / EXP_CYCLES and LANES / RSQRT_CYCLES shared units, a part of
// the line per cycle; parts without elements are skipped. Reductions go along k: each line is added to, or compared
// with, a register per lane that starts anew where k begins; the last line's write stays.
//
// STAGES registers lie between the ports and memory. `active` is high from the first operand on a port to the last
// result in memory.
module dfc_vector_unit #(
    parameter integer LANES = 4,
    parameter integer EXP_CYCLES = 4,
    parameter integer RSQRT_CYCLES = 4,
    parameter integer STAGES = 6,
    parameter integer AW = 24,
    parameter integer SW = 20
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                fold_valid,
    output wire                fold_take,
    input  wire [AW-1:0]       fold_x,
    input  wire [AW-1:0]       fold_w,
    input  wire [AW-1:0]       fold_y,
    input  wire [SW-1:0]       fold_m,
    input  wire [SW-1:0]       fold_k,
    input  wire                fold_open,
    input  wire                fold_close,
    input  wire [SW-1:0]       fold_n,      // elements of the line
    input  wire                fold_begin,
    input  wire                fold_last,
    input  wire [7:0]          opcode,
    input  wire [7:0]          amount,      // a product is shifted right by so many bits
    output wire                active,
    output wire                done,
    output wire                x_read,
    output wire [AW-1:0]       x_addr,
    input  wire [LANES*32-1:0] x_data,
    output wire                w_read,
    output wire [AW-1:0]       w_addr,
    input  wire [LANES*32-1:0] w_data,
    output wire [LANES-1:0]    y_read,
    output wire [LANES*AW-1:0] y_raddr,
    input  wire [LANES*32-1:0] y_rdata,
    output wire [LANES-1:0]    y_write,
    output wire [LANES*AW-1:0] y_waddr,
    output wire [LANES*32-1:0] y_wdata
);
  localparam [7:0] ADD = 8'd0, SUB = 8'd1, MUL = 8'd2, MAX = 8'd3, EXP = 8'd4, RSQRT = 8'd5, RSUM = 8'd6, RMAX = 8'd7;
  localparam integer EXP_UNITS = LANES / EXP_CYCLES;
  localparam integer RSQRT_UNITS = LANES / RSQRT_CYCLES;
  localparam integer SPECIAL = 4;       // stages of the shared units

  // ---- what happens in a cycle; addresses go out, and operands are there in the next one
  reg running;
  reg [SW-1:0] part, tail;              // part: of the line; tail: cycles until the last result is in memory
  wire [SW-1:0] width = opcode == EXP ? EXP_UNITS[SW-1:0] : opcode == RSQRT ? RSQRT_UNITS[SW-1:0] : LANES[SW-1:0];
  wire line_ends = part + width >= fold_n;
  wire ends = tail == {{(SW-1){1'b0}}, 1'b1};
  assign fold_take = running && line_ends;
  assign x_read = running;
  assign x_addr = fold_x;
  assign w_read = running;
  assign w_addr = fold_w;
  always @(posedge clk) begin
    if (!running && tail == {SW{1'b0}} && fold_valid) running <= 1'b1;
    if (tail != {SW{1'b0}}) tail <= tail - 1'b1;
    part <= !running || line_ends ? {SW{1'b0}} : part + width;
    if (fold_take && fold_last) begin
      running <= 1'b0;
      tail <= STAGES[SW-1:0];
    end
    if (rst) begin
      running <= 1'b0;
      tail <= {SW{1'b0}};
    end
  end
  reg active_q, ends_q;
  always @(posedge clk) {active_q, ends_q} <= {(running || tail != {SW{1'b0}}) && !rst, ends && !rst};
  assign active = active_q;
  wire unused_inputs = &{1'b0, fold_m, fold_k, fold_open, fold_close};
  assign done = ends_q;

  // ---- lanes: a result in the first stage, which waits for the others
  reg [LANES*32-1:0] plain;
  integer j;
  reg signed [31:0] one, other;
  reg signed [63:0] wide;
  reg [LANES*32-1:0] computed;
  always @* begin
    for (j = 0; j < LANES; j = j + 1) begin
      one = $signed(x_data[j*32 +: 32]);
      other = $signed(w_data[j*32 +: 32]);
      wide = (one * other) >>> amount;
      case (opcode)
        ADD: computed[j*32 +: 32] = $unsigned(one + other);
        SUB: computed[j*32 +: 32] = $unsigned(one - other);
        MUL: computed[j*32 +: 32] = wide[31:0];
        MAX: computed[j*32 +: 32] = $unsigned(one > other ? one : other);
        default: computed[j*32 +: 32] = $unsigned(one);
      endcase
    end
  end
  always @(posedge clk) plain <= computed;
  wire [LANES*32-1:0] plain_late;
  dfc_delay #(.CYCLES(STAGES - 1), .WIDTH(LANES*32)) plain_wait (.clk(clk), .in(plain), .out(plain_late));

  // ---- shared units: unit u does lane part + u
  reg [SW-1:0] part_q;
  always @(posedge clk) part_q <= part;
  /* verilator lint_off UNUSEDSIGNAL */
  wire [LANES*32-1:0] shown = x_data >> {part_q, 5'd0};
  /* verilator lint_on UNUSEDSIGNAL */
  wire [EXP_UNITS*32-1:0] exp_out, exp_late;
  wire [RSQRT_UNITS*32-1:0] rsqrt_out, rsqrt_late;
  genvar u;
  generate
    for (u = 0; u < EXP_UNITS; u = u + 1) begin : exps
      dfc_exp exp (.clk(clk), .x(shown[u*32 +: 32]), .y(exp_out[u*32 +: 32]));
    end
    for (u = 0; u < RSQRT_UNITS; u = u + 1) begin : rsqrts
      dfc_rsqrt rsqrt (.clk(clk), .x(shown[u*32 +: 32]), .y(rsqrt_out[u*32 +: 32]));
    end
  endgenerate
  dfc_delay #(.CYCLES(STAGES - SPECIAL), .WIDTH(EXP_UNITS*32)) exp_wait (.clk(clk), .in(exp_out), .out(exp_late));
  dfc_delay #(.CYCLES(STAGES - SPECIAL), .WIDTH(RSQRT_UNITS*32)) rsqrt_wait (
      .clk(clk), .in(rsqrt_out), .out(rsqrt_late));

  // ---- results; what is known of a part comes with them
  wire [AW-1:0] at_y;
  wire [SW-1:0] at_part, at_n, at_width;
  wire at_begin, at_valid;
  dfc_delay #(.CYCLES(STAGES + 1), .WIDTH(AW + 3*SW + 2)) with_results (
      .clk(clk), .in({fold_y, part, fold_n, width, fold_begin, running && !rst}),
      .out({at_y, at_part, at_n, at_width, at_begin, at_valid}));
  reg [LANES*32-1:0] acc, result;
  reg [LANES-1:0] write;
  integer v;
  reg signed [31:0] held, found;
  always @* begin
    for (v = 0; v < LANES; v = v + 1) begin
      held = $signed(acc[v*32 +: 32]);
      found = $signed(plain_late[v*32 +: 32]);
      case (opcode)
        EXP: found = $signed(exp_late[(v % EXP_UNITS)*32 +: 32]);
        RSQRT: found = $signed(rsqrt_late[(v % RSQRT_UNITS)*32 +: 32]);
        RSUM: if (!at_begin) found = held + found;
        RMAX: if (!at_begin && held > found) found = held;
        default: ;
      endcase
      result[v*32 +: 32] = $unsigned(found);
      write[v] = at_valid && at_n > v[SW-1:0] && at_part <= v[SW-1:0] && at_part + at_width > v[SW-1:0];
    end
  end
  always @(posedge clk) if (at_valid) acc <= result;
  assign y_read = {LANES{1'b0}};
  assign y_raddr = {LANES*AW{1'b0}};
  assign y_write = write;
  assign y_waddr = {LANES{at_y}};
  assign y_wdata = result;
  wire unused = &{1'b0, y_rdata, wide[63:32]};
endmodule
